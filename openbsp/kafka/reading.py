"""Reads topics for people and tools: from any offset, without a group, committing nothing. Blocking."""

import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from avro.codec import CodecError, Decoder, UnknownSchemaIdError
from openbsp.errors import KafkaSettingsError, KafkaUnavailableError, RegistryError, TopicsError
from openbsp.kafka.clients import LIBRDKAFKA, reader_config
from openbsp.kafka.connection import KafkaSettings
from openbsp.kafka.registry import Registry

#: The consumer group that brokers check access rights for. Nothing is ever committed in it.
GROUP = "openbsp-tools"

_TIMEOUT_S = 15.0
_POLL_S = 0.2
#: What brokers answer for moments of a partition that is new, or moves from one of them to another.
_PASSING = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 the code's public name in confluent-kafka
    }
)

T = TypeVar("T")

#: By partition: the offset to begin with, and the one to end before.
Range = Mapping[int, tuple[int, int]]


def patiently(timeout_s: float, question: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Ask brokers a question, and again for `timeout_s` while they answer what passes by itself. Blocking.

    Raises KafkaException.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return question(*arguments, **options)
        except KafkaException as refusal:
            if refusal.args[0].code() not in _PASSING or time.monotonic() >= deadline:
                raise
        time.sleep(_POLL_S)


def tail(within: Range, most: int) -> Range:
    """Return the last `most` offsets of each partition, as far as it has so many."""
    return {number: (max(start, end - most), end) for number, (start, end) in within.items()}


class TopicReader:
    """Reads one topic. A context manager.

    Its methods raise KafkaUnavailableError when no broker answers in time.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, timeout_s: float = _TIMEOUT_S) -> None:
        """Find the topic's partitions; each answer of a broker may take `timeout_s`.

        Raises TopicsError if there is no such topic, KafkaSettingsError.
        """
        self._timeout_s = timeout_s
        try:
            self._consumer = Consumer(reader_config(kafka.librdkafka(), GROUP), logger=LIBRDKAFKA)
        except KafkaException as error:
            raise KafkaSettingsError(f"the KAFKA_ settings cannot be used: {error.args[0].str()}") from None
        self._servers = kafka.bootstrap_servers
        self.topic = topic
        topics = self._topics()
        if topic not in topics:
            self._consumer.close()
            there = ", ".join(sorted(topics)) or "none"
            raise TopicsError([f"{topic}: missing; TOPIC_PREFIX is how names begin, and the topics here are {there}"])
        self.partitions: list[int] = sorted(topics[topic].partitions)

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def range(self, since_ms: int | None = None) -> Range:
        """Return each partition's offsets, of all records or of those appended at `since_ms` or later."""
        ends = {partition: self._watermarks(partition) for partition in self.partitions}
        if since_ms is None:
            return ends
        asked = [TopicPartition(self.topic, partition, since_ms) for partition in self.partitions]
        found = self._ask(self._consumer.offsets_for_times, asked, timeout=self._timeout_s)
        # A partition without such a record has the end as its answer.
        starts = {place.partition: place.offset if place.offset >= 0 else ends[place.partition][1] for place in found}
        return {partition: (starts[partition], end) for partition, (_, end) in ends.items()}

    def leaderless(self) -> list[int]:
        """Return the partitions that no broker leads now: they are asked in vain."""
        there = self._topics().get(self.topic)
        return [] if there is None else [number for number, found in there.partitions.items() if found.leader < 0]

    def read(self, within: Range) -> Iterator[Message]:
        """Yield the records of a range, those of one partition in their order. Some of it may have been deleted."""
        unfinished = {partition: end for partition, (start, end) in within.items() if start < end}
        self._consumer.assign([TopicPartition(self.topic, number, within[number][0]) for number in unfinished])
        idle_s = 0.0
        while unfinished:
            message = self._consumer.poll(_POLL_S)
            if message is None:
                idle_s += _POLL_S
                if idle_s >= self._timeout_s:
                    raise KafkaUnavailableError(
                        f"{self._servers}: no records of {self.topic} within {self._timeout_s:g} s"
                    )
                continue
            idle_s = 0.0
            partition = cast("int", message.partition())
            offset = cast("int", message.offset())
            end = unfinished.get(partition)
            if self._is_end(message):
                # Trap: a broker that has just begun to lead may tell of an end before the end.
                if end is not None and offset >= end:
                    del unfinished[partition]
                continue
            if end is None:
                continue
            if offset + 1 >= end:
                # Also beyond it: the last records of the range may have been deleted or compacted away.
                del unfinished[partition]
            if offset < end:
                yield message
        self._consumer.unassign()

    def one(self, partition: int, offset: int) -> Message | None:
        """Return the record at a position, or None if it is not there any more, or not yet."""
        if partition not in self.partitions:
            return None
        start, end = self._watermarks(partition)
        if not start <= offset < end:
            return None
        for message in self.read({partition: (offset, offset + 1)}):
            return message
        return None

    def follow(self, starts: Mapping[int, int]) -> Iterator[Message | None]:
        """Yield records from these offsets on, endlessly; None whenever there was none for a moment."""
        self._consumer.assign([TopicPartition(self.topic, partition, offset) for partition, offset in starts.items()])
        while True:
            message = self._consumer.poll(_POLL_S)
            if message is None or not self._is_end(message):
                yield message

    def ends(self) -> dict[int, int]:
        """Return the offsets for a reader of new records only."""
        return dict.fromkeys(self.partitions, OFFSET_END)

    def _topics(self) -> Mapping[str, Any]:
        # All topics, not this one by name: a broker would create it if allowed.
        found: Mapping[str, Any] = self._ask(self._consumer.list_topics, timeout=self._timeout_s).topics
        return found

    def _watermarks(self, partition: int) -> tuple[int, int]:
        place = TopicPartition(self.topic, partition)
        start, end = self._ask(self._consumer.get_watermark_offsets, place, timeout=self._timeout_s)
        return start, end

    def _is_end(self, message: Message) -> bool:
        """Return whether it is the end of a partition instead of a record. Raises KafkaUnavailableError for errors."""
        error = message.error()
        if error is None:
            return False
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 the code's public name in confluent-kafka
            return True
        raise KafkaUnavailableError(f"{self._servers}: {self.topic} cannot be read: {error.str()}")

    def _ask(self, question: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return patiently(self._timeout_s, question, *arguments, **options)
        except KafkaException as refusal:
            why = refusal.args[0].str()
            raise KafkaUnavailableError(
                f"{self._servers}: no broker answered: {why}; KAFKA_BOOTSTRAP_SERVERS says where"
            ) from None


class ValueReader:
    """Decodes values of one record type with the registry's schemas. Instants come as microseconds."""

    def __init__(self, record: str, registry: Registry) -> None:
        """Start without schemas: each is fetched once."""
        self._decoder = Decoder(record)
        self._registry = registry

    def decode(self, value: bytes) -> dict[str, Any]:
        """Return the fields. Raises CodecError for unreadable values, RegistryError."""
        try:
            return self._decoder.decode(value)
        except UnknownSchemaIdError as unknown:
            self._decoder.learn(unknown.schema_id, schema_text(self._registry, unknown.schema_id))
            return self._decoder.decode(value)


def schema_text(registry: Registry, schema_id: int) -> str:
    """Return the schema of an id. Raises CodecError if the registry has none, RegistryError if it is unavailable."""
    try:
        return registry.text(schema_id)
    except RegistryError as error:
        if not error.absent:
            raise
        raise CodecError("unknown_schema", f"schema id {schema_id} is not in the registry") from None
