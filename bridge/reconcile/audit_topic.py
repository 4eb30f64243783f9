"""The topic of audits: the findings of each run, one record a run."""

from collections.abc import Iterator

from avro.catalogue import topic_name
from bridge.reconcile.errors import ReconcileError
from bridge.reconcile.signing import Audit
from openbsp.errors import KafkaSettingsError, KafkaUnavailableError
from openbsp.kafka.connection import KafkaSettings, TopicSettings
from openbsp.kafka.reading import TopicReader
from openbsp.kafka.writing import write_one

TOPIC = "audits"
_TIMEOUT_S = 15.0


def keep(audit: Audit, kafka: KafkaSettings, topics: TopicSettings) -> None:
    """Write an audit. Raises ReconcileError if it was not acknowledged."""
    name = topic_name(topics.prefix, TOPIC)
    run = str(audit.report["run"]).encode()
    try:
        write_one(kafka, name, run, audit.encode(), [("content-type", b"application/json")], timeout_s=_TIMEOUT_S)
    except (KafkaUnavailableError, KafkaSettingsError) as error:
        raise ReconcileError(f"{name}: the audit is not kept: {error}") from None


def read(kafka: KafkaSettings, topics: TopicSettings) -> Iterator[tuple[str, bytes]]:
    """Yield each audit's position and text, those of one partition in their order.

    Raises TopicsError, KafkaUnavailableError.
    """
    name = topic_name(topics.prefix, TOPIC)
    with TopicReader(kafka, name) as reader:
        for message in reader.read(reader.range()):
            yield f"{name}:{message.partition()}:{message.offset()}", message.value() or b""
