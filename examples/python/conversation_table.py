"""Keeps a SQL table of all conversations as they are now, from the topic conversation-state.

Positions are kept in the same database and the same transaction as the rows, so the table is right after a crash at
any moment, and a restart goes on where the table stands. A record without value (tombstone) deletes its row. If this
program stood still or did not reach Kafka for longer than Kafka keeps tombstones, or the topic no longer has the
position, the table is built anew.

    python conversation_table.py conversations.db
    sqlite3 conversations.db "SELECT contact_address, last_preview FROM conversations WHERE awaiting_reply"
"""

import os
import sqlite3
import sys
import time
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

KAFKA = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:14000")
REGISTRY = os.environ.get("SCHEMA_REGISTRY_URL", "http://127.0.0.1:14001/apis/ccompat/v7")
TOPIC = os.environ.get("TOPIC_PREFIX", "openbsp.") + "conversation-state"
UNTIL_END = "UNTIL_END" in os.environ

#: How long Kafka keeps tombstones (`delete.retention.ms`, a day unless set); who reads later can miss a deletion.
TOMBSTONES_KEPT_S = 24 * 60 * 60
#: How often the table is said to be complete.
COMPLETE_S = 60

TABLES = """
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY, organization_id TEXT, service TEXT, contact_address TEXT, name TEXT, status TEXT,
    message_count INTEGER NOT NULL, unread_count INTEGER NOT NULL, awaiting_reply INTEGER NOT NULL,
    last_message_at TEXT, last_preview TEXT
);
CREATE TABLE IF NOT EXISTS positions (partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS progress (complete_at REAL NOT NULL);
"""
UPSERT = """
INSERT OR REPLACE INTO conversations VALUES (
    :id, :organization_id, :service, :contact_address, :name, :status,
    :message_count, :unread_count, :awaiting_reply, :last_message_at, :last_preview
)
"""


class Table:
    """The rows and the positions up to which they are right."""

    def __init__(self, path: str) -> None:
        """Open the database, or make it."""
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(TABLES)

    def positions(self) -> dict[int, int]:
        """Return the next offset of each partition that was read before; start anew if tombstones may be missing."""
        if self.is_stale():
            self.clear()
        return dict(self._database.execute("SELECT partition, next_offset FROM positions"))

    def is_stale(self) -> bool:
        """Return whether tombstones may be missing, because the table was complete too long ago."""
        (complete_at,) = self._database.execute("SELECT max(complete_at) FROM progress").fetchone()
        return complete_at is None or time.time() - complete_at > TOMBSTONES_KEPT_S

    def clear(self) -> None:
        """Forget everything; from now on no deletion is missed."""
        self._database.execute("BEGIN")
        for table in ("conversations", "positions", "progress"):
            self._database.execute(f"DELETE FROM {table}")
        self._database.execute("INSERT INTO progress VALUES (?)", [time.time()])
        self._database.execute("COMMIT")

    def apply(self, changes: list[tuple[Message, dict[str, Any] | None]], *, caught_up: bool) -> None:
        """Write a batch of states and tombstones, and how far they lead, at once or not at all."""
        self._database.execute("BEGIN")
        for message, state in changes:
            if state is None:
                self._database.execute("DELETE FROM conversations WHERE id = ?", [message.key().decode()])
            else:
                last = state["last_message"] or {}
                row = state | {"last_message_at": _text(last.get("timestamp")), "last_preview": last.get("preview")}
                self._database.execute(UPSERT, row)
            self._database.execute(
                "INSERT OR REPLACE INTO positions VALUES (?, ?)", [message.partition(), message.offset() + 1]
            )
        if caught_up:
            self._database.execute("UPDATE progress SET complete_at = ?", [time.time()])
        self._database.execute("COMMIT")

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _text(instant: Any) -> str | None:
    return None if instant is None else instant.isoformat()


def follow(table: Table) -> None:
    """Apply the topic to the table, batch by batch."""
    deserialize = AvroDeserializer(SchemaRegistryClient({"url": REGISTRY, "timeout": 10}))
    consumer = Consumer(
        {
            "bootstrap.servers": KAFKA,
            "group.id": "conversation-table",  # names the client only: positions are in the table
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
    )
    try:
        partitions = consumer.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
        _assign(consumer, set(partitions), table.positions())
        at_end: set[int] = set()
        complete_at = -float("inf")
        while not UNTIL_END or at_end < set(partitions):
            changes, anew = [], False
            for message in consumer.consume(500, timeout=1):
                if message.error() is None:
                    at_end.discard(message.partition())
                    context = SerializationContext(TOPIC, MessageField.VALUE)
                    value = message.value()
                    changes.append((message, None if value is None else deserialize(value, context)))
                elif message.error().code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 its public name
                    at_end.add(message.partition())
                elif message.error().code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
                    anew = True
                    break
                else:
                    raise KafkaException(message.error())
            # Trap: that a partition has ended is said once, also when Kafka has been out of reach since.
            stale = table.is_stale()
            due = stale or time.monotonic() - complete_at > COMPLETE_S
            caught_up = due and at_end == set(partitions) and _answers(consumer)
            if anew or (caught_up and stale):
                table.clear()
                at_end = set()
                _assign(consumer, set(partitions), {})
                continue
            table.apply(changes, caught_up=caught_up)
            if caught_up:
                complete_at = time.monotonic()
    finally:
        consumer.close()


def _answers(consumer: Consumer) -> bool:
    try:
        consumer.list_topics(TOPIC, timeout=10)
    except KafkaException:
        return False
    return True


def _assign(consumer: Consumer, partitions: set[int], positions: dict[int, int]) -> None:
    beginnings = {
        partition: consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), timeout=10)[0]
        for partition in partitions - positions.keys()
    }
    consumer.assign(
        [TopicPartition(TOPIC, partition, offset) for partition, offset in (beginnings | positions).items()]
    )


def main() -> None:
    """Keep the table in the file that is named on the command line."""
    table = Table(sys.argv[1])
    try:
        follow(table)
    except KeyboardInterrupt:
        pass
    finally:
        table.close()


if __name__ == "__main__":
    main()
