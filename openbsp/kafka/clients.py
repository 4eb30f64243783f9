"""Settings of Kafka clients, once for each purpose; `connection` is KafkaSettings.librdkafka() or one derived from it.

librdkafka's own logs go to the logger `librdkafka`, and so into the process's log, instead of standard error.
"""

import logging
from typing import Any

from avro.catalogue import MAX_MESSAGE_BYTES
from openbsp.kafka.connection import Config

#: For clients that are polled; the logs of others would wait in a growing queue.
LIBRDKAFKA = logging.getLogger("librdkafka")

#: For all connections to brokers.
_CONNECTION: Config = {
    # Reconnect soon to a recovered broker: the default is to wait up to 10 s between attempts.
    "reconnect.backoff.max.ms": 1000,
    "log.connection.close": False,
    # Warnings and what is worse, as syslog counts.
    "log_level": 4,
}


def producer_config(
    connection: Config, *, message_timeout_s: float, linger_ms: int, queue_messages: int, queue_kibibytes: int
) -> dict[str, Any]:
    """Return the settings of a producer whose delivery reports mean that all in-sync replicas have a record.

    `connection` as from KafkaSettings.producer, which sets the compression.
    """
    return {
        **connection,
        "acks": "all",
        "enable.idempotence": True,
        # The partitioner of the Java clients, so that everyone finds a key in the same partition.
        "partitioner": "murmur2_random",
        "linger.ms": linger_ms,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "message.timeout.ms": int(message_timeout_s * 1000),
        "queue.buffering.max.messages": queue_messages,
        "queue.buffering.max.kbytes": queue_kibibytes,
        **_CONNECTION,
    }


def reader_config(connection: Config, group: str) -> dict[str, Any]:
    """Return the settings of a consumer without a group: it reads the partitions that it is assigned."""
    return {
        **connection,
        "group.id": group,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 100,
        "fetch.queue.backoff.ms": 20,
        "queued.min.messages": 20_000,
        "queued.max.messages.kbytes": 65_536,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        # Of one partition in one answer, if there is more than one record: a backlog of several topics is read at one
        # pace. Trap: as much as a record may have would be tens of thousands of one topic before the first of another.
        "fetch.message.max.bytes": 1 << 20,
        "receive.message.max.bytes": 256 * 1024 * 1024,
        **_CONNECTION,
    }


def admin_config(connection: Config) -> dict[str, Any]:
    """Return the settings of an admin client, which logs nothing: it is never polled, and each call has its error."""
    return {**connection, "log_level": 0}
