"""Errors of Kafka's clients, for callers that may not import them."""

from confluent_kafka import KafkaException

#: Kafka does not answer, or not now.
UNAVAILABLE = (KafkaException,)


def name_of(error: BaseException) -> str:
    """Return the name of a client's error."""
    return str(error.args[0].name()) if isinstance(error, KafkaException) else type(error).__name__
