"""The topic of audits: what each run found, one record a run."""

from collections.abc import Iterator

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from avro.catalogue import topic_name
from bridge.reconcile.errors import ReconcileError
from bridge.reconcile.signing import Audit, decode
from openbsp.kafka import clients
from openbsp.kafka.connection import KafkaSettings, TopicSettings
from openbsp.kafka.reading import TopicReader

TOPIC = "audits"
_TIMEOUT_S = 15.0


def keep(audit: Audit, kafka: KafkaSettings, topics: TopicSettings) -> None:
    """Write an audit. Raises ReconcileError if it was not acknowledged."""
    name = topic_name(topics.prefix, TOPIC)
    config = clients.producer_config(
        kafka.producer(), message_timeout_s=_TIMEOUT_S, linger_ms=0, queue_messages=10, queue_kibibytes=65_536
    )
    outcome: list[str | None] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        # Trap: a KafkaError that is compared with None breaks the interpreter's next call.
        outcome.append(None if error is None else error.str())

    try:
        producer = Producer(config, logger=clients.LIBRDKAFKA)
        producer.produce(
            name,
            audit.encode(),
            str(audit.report["run"]).encode(),
            on_delivery=delivered,
            headers=[("content-type", b"application/json")],
        )
        producer.flush(_TIMEOUT_S + 1)
    except KafkaException as error:
        raise ReconcileError(f"{name}: the audit is not kept: {error.args[0].str()}") from None
    if outcome != [None]:
        why = outcome[0] if outcome else "no answer"
        raise ReconcileError(f"{name}: the audit is not kept: {why}; `bridge topics apply` makes the topic")


def read(kafka: KafkaSettings, topics: TopicSettings) -> Iterator[Audit]:
    """Yield all audits, those of one partition in their order.

    Raises TopicsError, KafkaUnavailableError, and ReconcileError for a record that is none.
    """
    with TopicReader(kafka, topic_name(topics.prefix, TOPIC)) as reader:
        for message in reader.read(reader.range()):
            yield decode(message.value() or b"")
