"""What a delivery report says of a record: a report without an error is not yet an acknowledgement."""

from confluent_kafka import Message

#: Why a record without an error and without an offset is not acknowledged.
UNWRITTEN = "reported as delivered, without an offset: no broker has acknowledged it, and it may be in no topic"


def is_unwritten(message: Message) -> bool:
    """Return whether no broker has acknowledged a record that librdkafka reports without an error.

    Trap: of an idempotent producer that is new to a partition, a broker takes any sequence number. If its first batch
    is refused for a moment and the next, which is on its way by then, is taken, librdkafka (to 2.16) concludes that the
    first was written, and reports its records as delivered. They are in no topic: docs/decisions/0245. Every producer
    here has acks=all, so that only what librdkafka concludes has neither an error nor an offset.
    """
    return message.offset() is None
