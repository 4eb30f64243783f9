"""Reads a topic as a consumer without this project's code does: with Confluent's own deserializer. Commits nothing."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

_POLL_S = 0.1
_METADATA_S = 10.0


@dataclass(frozen=True, slots=True)
class Record:
    """A record with its value as the schema has it; instants are datetimes."""

    key: str | None
    value: Mapping[str, Any] | None
    """None in a tombstone."""
    headers: Mapping[str, str]
    partition: int
    offset: int


class TopicReader:
    """Reads all partitions of a topic from where they ended when it was made, or from their beginning.

    A context manager. Only for topics whose values are Avro.
    """

    def __init__(self, name: str, *, kafka: str, schema_registry: str, from_beginning: bool = False) -> None:
        self.name = name
        """The full name of the topic."""
        self._registry = SchemaRegistryClient({"url": schema_registry, "timeout": 10})
        self._decode = AvroDeserializer(self._registry)
        self._consumer = Consumer(
            {"bootstrap.servers": kafka, "group.id": "openbsp-testkit", "enable.auto.commit": False}
        )
        try:
            self._consumer.assign(self._positions(from_beginning=from_beginning))
        except BaseException:
            self.close()
            raise

    def take(self, count: int, *, within: float = 30.0) -> list[Record]:
        """Return the next `count` records, partition by partition in order; AssertionError after `within` seconds."""
        taken: list[Record] = []
        deadline = time.monotonic() + within
        while len(taken) < count:
            record = self._next(deadline)
            if record is None:
                raise AssertionError(f"{self.name}: {len(taken)} of {count} records came within {within:g} s: {taken}")
            taken.append(record)
        return taken

    def until(self, wanted: Callable[[Record], bool], *, within: float = 30.0) -> Record:
        """Return the next record that is `wanted` and pass by the others; AssertionError after `within` seconds."""
        passed: list[Record] = []
        deadline = time.monotonic() + within
        while True:
            record = self._next(deadline)
            if record is None:
                raise AssertionError(f"{self.name}: no such record came within {within:g} s, but {passed}")
            if wanted(record):
                return record
            passed.append(record)

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()
        self._registry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _positions(self, *, from_beginning: bool) -> list[TopicPartition]:
        partitions = self._consumer.list_topics(self.name, timeout=_METADATA_S).topics[self.name].partitions
        if not partitions:
            raise LookupError(f"there is no topic {self.name}")
        if from_beginning:
            return [TopicPartition(self.name, number, OFFSET_BEGINNING) for number in partitions]
        ends = {
            number: self._consumer.get_watermark_offsets(TopicPartition(self.name, number), timeout=_METADATA_S)[1]
            for number in partitions
        }
        return [TopicPartition(self.name, number, end) for number, end in ends.items()]

    def _next(self, deadline: float) -> Record | None:
        while time.monotonic() < deadline:
            message = self._consumer.poll(_POLL_S)
            if message is None:
                continue
            if (error := message.error()) is not None:
                raise KafkaException(error)
            return self._record(message)
        return None

    def _record(self, message: Message) -> Record:
        key = message.key()
        headers = cast("list[tuple[str, bytes]]", message.headers() or [])
        context = SerializationContext(self.name, MessageField.VALUE)
        return Record(
            None if key is None else key.decode(),
            self._decode(message.value(), context),
            {name: value.decode() for name, value in headers},
            cast("int", message.partition()),
            cast("int", message.offset()),
        )
