"""Reading: librdkafka fetches the assigned partitions in bulk; membership decides on ownership."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from openbsp.kafka.clients import reader_config
from openbsp.kafka.connection import Config
from streams.engine.errors import SourceLostError
from streams.engine.outside import Clients, Clock, Thread

_TIMEOUT_S = 15.0
#: Seconds without a record or an end after which a source asks whether anybody answers it.
_PATIENCE_S = 60.0
#: Whoever stops a source waits for as long, at most.
_ANSWER_S = 3.0
#: Questions without an answer, in each of which the group has answered another client.
_TRIES = 4

#: Errors that librdkafka recovers from. Any other may mean records that it has skipped, so it must not pass.
_PASSING = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 librdkafka's own errors have such names
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    }
)


#: As librdkafka reads them.
Headers = Collection[tuple[str, str | bytes | None]]


class Record(NamedTuple):
    """A record that was read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A consumer's available records, in the order of their partitions, and the ends reached with the last of them."""

    records: list[Record]
    ends: list[tuple[str, int, int]]

    def reaches(self, offset: int) -> bool:
        """Return whether the only partition that is read has been read up to an offset.

        Trap: a broker that has just begun to lead may tell of an end before the end, and compaction may have removed
        the last records before an offset, so neither an end nor a record tells alone.
        """
        read_to = [record.offset + 1 for record in self.records] + [end for _, _, end in self.ends]
        return any(position >= offset for position in read_to)


def read(consumer: Consumer, limit: int, wait_s: float) -> Batch:
    """Return up to `limit` records, waiting up to `wait_s` seconds for the first. Blocking.

    Raises KafkaException for errors that librdkafka does not recover from.
    """
    first = consumer.poll(wait_s)
    found = Batch([], [])
    if first is None:
        return found
    # Trap: consume(n, timeout) waits for n records; only with no time-out does it return the available ones.
    for message in [first, *consumer.consume(limit - 1, 0)]:
        error = message.error()
        at = cast("tuple[str, int, int]", (message.topic(), message.partition(), message.offset()))
        if error is None:
            found.records.append(Record(*at, message.key(), message.value(), cast("Headers | None", message.headers())))
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 the library has no other name for it
            found.ends.append(at)
        elif error.fatal() or error.code() not in _PASSING:
            raise KafkaException(error)
    return found


def reader(clients: Clients, connection: Config, group: str, *, missing: str = "earliest") -> Consumer:
    """Return a consumer outside of any group: it reads what it is assigned.

    `missing` is the policy for a position without a record: earliest, or error.
    """
    return clients.consumer({**reader_config(connection, group), "auto.offset.reset": missing})


def assign(consumer: Consumer, positions: Mapping[tuple[str, int], int]) -> None:
    """Read these partitions, each from a position on."""
    consumer.assign([TopicPartition(topic, partition, offset) for (topic, partition), offset in positions.items()])


def end_offsets(consumer: Consumer, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Return the end of each partition: the offset that the next record will have. Blocking."""
    return {at: _watermarks(consumer, at)[1] for at in partitions}


def first_offsets(consumer: Consumer, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Return the offset of the first record that each partition still has or will have. Blocking."""
    return {at: _watermarks(consumer, at)[0] for at in partitions}


def bounds(consumer: Consumer, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
    """Return the first offset and the end of each partition. Blocking."""
    return {at: _watermarks(consumer, at) for at in partitions}


def _watermarks(consumer: Consumer, at: tuple[str, int]) -> tuple[int, int]:
    low, high = consumer.get_watermark_offsets(TopicPartition(*at), timeout=_TIMEOUT_S)
    return low, high


class Source:
    """Reads partitions in a thread and hands batches on, at most two of them unprocessed."""

    def __init__(
        self,
        consumer: Consumer,
        thread: Thread,
        positions: Mapping[tuple[str, int], int],
        *,
        batch_records: int,
        deliver: Callable[[Batch], Coroutine[None, None, None]],
        fail: Callable[[BaseException], None],
        clock: Clock,
        group_answered: Callable[[float], bool],
        patience_s: float = _PATIENCE_S,
    ) -> None:
        """Prepare; `thread` is the consumer's alone.

        `group_answered` is whether the group has answered what it was asked later than at a time of the clock. After
        `patience_s` without a sign of life this asks for one: see SourceLostError.
        """
        self._consumer = consumer
        self._clock = clock
        self._group_answered = group_answered
        self._patience_s = patience_s
        self._heard_at = clock.monotonic()
        self._unanswered = 0
        self._thread = thread
        self._positions = positions
        self._batch_records = batch_records
        self._deliver = deliver
        self._fail = fail
        self._room = asyncio.Semaphore(2)
        self._stopping = False
        self._reading: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read."""
        self._reading = asyncio.create_task(self._run())

    def done(self) -> None:
        """Report that a batch has been processed, so that another may be read."""
        self._room.release()

    async def stop(self) -> None:
        """Stop reading; nothing is delivered after this returns."""
        self._stopping = True
        self._room.release()
        if self._reading is not None:
            await asyncio.wait([self._reading])
        self._thread.close()

    def _going(self) -> bool:
        return not self._stopping

    async def _run(self) -> None:
        try:
            await self._read()
        except Exception as error:  # noqa: BLE001 whatever it is, the worker must not go on without a source
            self._fail(error)
        finally:
            await self._thread.run(self._consumer.close)

    async def _read(self) -> None:
        await self._thread.run(assign, self._consumer, self._positions)
        self._hear()
        while self._going():
            found = await self._thread.run(read, self._consumer, self._batch_records, 0.1)
            if not found.records and not found.ends:
                await self._ask_if_silent()
                continue
            await self._room.acquire()
            if not self._going():
                return
            await self._deliver(found)
            self._hear()

    def _hear(self) -> None:
        self._heard_at = self._clock.monotonic()
        self._unanswered = 0

    async def _ask_if_silent(self) -> None:
        # Trap: librdkafka may have lost its last broker, for good and without a word: docs/decisions/0246.
        now = self._clock.monotonic()
        if now - self._heard_at < self._patience_s:
            return
        topic = next(iter(self._positions))[0]
        try:
            # Not for offsets: of a partition without a leader nobody can tell them, and the others are read.
            await self._thread.run(self._consumer.list_topics, topic, timeout=_ANSWER_S)
        except KafkaException as error:
            # While the group is not answered either, Kafka is away for all: the lease decides.
            self._unanswered += self._group_answered(now)
            if self._unanswered >= _TRIES and self._going():
                silent_s = self._clock.monotonic() - self._heard_at
                raise SourceLostError(
                    f"no broker has answered the client that reads the sources for {silent_s:.0f} s, while the "
                    "group's coordinator answers this worker; a restart connects anew"
                ) from error
        else:
            self._hear()
