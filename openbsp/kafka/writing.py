"""Writes single records for commands. Blocking."""

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from openbsp.errors import KafkaSettingsError, KafkaUnavailableError
from openbsp.kafka import clients, reports
from openbsp.kafka.connection import KafkaSettings

_TIMEOUT_S = 15.0


def write_one(
    kafka: KafkaSettings,
    topic: str,
    key: bytes,
    value: bytes | None,
    headers: list[tuple[str, str | bytes | None]],
    *,
    timeout_s: float = _TIMEOUT_S,
) -> None:
    """Write a record, or a tombstone, and wait until all in-sync replicas have it.

    Raises KafkaUnavailableError if it was not acknowledged, KafkaSettingsError.
    """
    config = clients.producer_config(
        kafka.producer(), message_timeout_s=timeout_s, linger_ms=0, queue_messages=10, queue_kibibytes=65_536
    )
    outcome: list[str | None] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        # Trap: comparing a KafkaError with None breaks the interpreter's next call.
        if error is not None:
            outcome.append(error.str())
        else:
            outcome.append(reports.UNWRITTEN if reports.is_unwritten(message) else None)

    try:
        producer = Producer(config, logger=clients.LIBRDKAFKA)
    except KafkaException as error:
        raise KafkaSettingsError(f"the KAFKA_ settings cannot be used: {error.args[0].str()}") from None
    try:
        producer.produce(topic, value, key, on_delivery=delivered, headers=headers)
        producer.flush(timeout_s + 1)
    except KafkaException as error:
        raise KafkaUnavailableError(f"{topic}: not written: {error.args[0].str()}") from None
    if outcome != [None]:
        why = outcome[0] if outcome else "no answer"
        raise KafkaUnavailableError(f"{topic}: not written: {why}; `bridge topics apply` makes the topic")
