"""Reads a topic as any consumer does, with confluent-kafka. Commits nothing."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openbsp_testkit.decoding import Decoder
from openbsp_testkit.errors import MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from typing_extensions import Self

_POLL_S = 0.1
_METADATA_S = 10.0


@dataclass(frozen=True)
class Record:
    """A record with its value as the schema has it; instants are datetimes."""

    key: str | None
    value: Mapping[str, Any] | None
    """None in a tombstone."""
    headers: Mapping[str, str]
    partition: int
    offset: int


class TopicReader:
    """Reads all partitions of a topic from their end when it was made, or from their beginning.

    A context manager. Only for topics whose values are Avro. `take` and `until` block the thread; in an asynchronous
    test, `take_async` and `until_async` leave asyncio's loop free meanwhile. MissingPackageError.
    """

    def __init__(self, name: str, *, kafka: str, schema_registry: str, from_beginning: bool = False) -> None:
        try:
            import confluent_kafka  # noqa: PLC0415 one may do without it until a topic is read
        except ModuleNotFoundError:
            raise MissingPackageError("reading a topic", "confluent-kafka", "kafka") from None
        self.name = name
        """The full name of the topic."""
        self._kafka = confluent_kafka
        self._decoder = Decoder(schema_registry)
        self._consumer = confluent_kafka.Consumer(
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
        """Return the next record that is `wanted` and skip others; AssertionError after `within` seconds."""
        passed: list[Record] = []
        deadline = time.monotonic() + within
        while True:
            record = self._next(deadline)
            if record is None:
                raise AssertionError(f"{self.name}: no such record came within {within:g} s, but {passed}")
            if wanted(record):
                return record
            passed.append(record)

    async def take_async(self, count: int, *, within: float = 30.0) -> list[Record]:
        """As `take`, in a thread."""
        return await asyncio.to_thread(self.take, count, within=within)

    async def until_async(self, wanted: Callable[[Record], bool], *, within: float = 30.0) -> Record:
        """As `until`, in a thread."""
        return await asyncio.to_thread(self.until, wanted, within=within)

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def _positions(self, *, from_beginning: bool) -> list[Any]:
        deadline = time.monotonic() + _METADATA_S
        while True:
            try:
                return self._positions_now(from_beginning=from_beginning)
            except self._kafka.KafkaException:
                # Trap: on a busy machine a broker says for moments that it does not know, or lead, a new partition.
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_POLL_S)

    def _positions_now(self, *, from_beginning: bool) -> list[Any]:
        position = self._kafka.TopicPartition
        partitions = self._consumer.list_topics(self.name, timeout=_METADATA_S).topics[self.name].partitions
        if not partitions:
            raise LookupError(f"there is no topic {self.name}")
        if from_beginning:
            return [position(self.name, number, self._kafka.OFFSET_BEGINNING) for number in partitions]
        ends = {
            number: self._consumer.get_watermark_offsets(position(self.name, number), timeout=_METADATA_S)[1]
            for number in partitions
        }
        return [position(self.name, number, end) for number, end in ends.items()]

    def _next(self, deadline: float) -> Record | None:
        while time.monotonic() < deadline:
            message = self._consumer.poll(_POLL_S)
            if message is None:
                continue
            if (error := message.error()) is not None:
                raise self._kafka.KafkaException(error)
            return self._record(message)
        return None

    def _record(self, message: Any) -> Record:
        key, value = message.key(), message.value()
        return Record(
            None if key is None else key.decode(),
            None if value is None else self._decoder.decode(value),
            {name: content.decode() for name, content in message.headers() or []},
            message.partition(),
            message.offset(),
        )
