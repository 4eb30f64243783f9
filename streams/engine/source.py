"""Reading: librdkafka fetches the assigned partitions in bulk; who owns them is decided elsewhere (membership)."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from avro.catalogue import MAX_MESSAGE_BYTES
from openbsp.kafka.connection import Config

_TIMEOUT_S = 15.0

#: What librdkafka mends by itself. Any other error may mean records that it has skipped, so it must not pass.
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


class Record(NamedTuple):
    """A record as it was read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in the order of their partitions, and the ends that were reached with the last of them.

    `number` counts from 0: a gap means that a batch was dropped.
    """

    epoch: int
    number: int
    records: list[Record]
    ends: list[tuple[str, int, int]]


@dataclass(frozen=True, slots=True)
class Read:
    """What a consumer had ready: records, and the ends of partitions that were reached, with their offsets."""

    records: list[Record]
    ends: list[tuple[str, int, int]]


def read(consumer: Consumer, limit: int, wait_s: float) -> Read:
    """Return up to `limit` records, waiting up to `wait_s` seconds for the first. Blocking.

    Raises KafkaException for errors that librdkafka cannot mend by itself.
    """
    first = consumer.poll(wait_s)
    found = Read([], [])
    if first is None:
        return found
    # Trap: consume(n, timeout) waits for n records; only with no time-out does it return what is there.
    for message in [first, *consumer.consume(limit - 1, 0)]:
        error = message.error()
        at = cast("tuple[str, int, int]", (message.topic(), message.partition(), message.offset()))
        if error is None:
            found.records.append(Record(*at, message.key(), message.value()))
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 the library has no other name for it
            found.ends.append(at)
        elif error.fatal() or error.code() not in _PASSING:
            raise KafkaException(error)
    return found


def reader(connection: Config, group: str) -> Consumer:
    """Return a consumer that is no member of any group: it reads what it is told to."""
    return Consumer(
        {
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
            "fetch.message.max.bytes": MAX_MESSAGE_BYTES,
            "receive.message.max.bytes": 256 * 1024 * 1024,
            "log_level": 4,
        }
    )


def end_offsets(consumer: Consumer, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Return the end of each partition: the offset that the next record will have. Blocking."""
    return {at: _watermarks(consumer, at)[1] for at in partitions}


def first_offsets(consumer: Consumer, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Return the offset of the first record that each partition still has or will have. Blocking."""
    return {at: _watermarks(consumer, at)[0] for at in partitions}


def _watermarks(consumer: Consumer, at: tuple[str, int]) -> tuple[int, int]:
    low, high = consumer.get_watermark_offsets(TopicPartition(*at), timeout=_TIMEOUT_S)
    return low, high


class Source:
    """A thread that reads partitions and hands batches to the event loop, at most `ahead` of them unprocessed."""

    def __init__(
        self,
        consumer: Consumer,
        positions: Mapping[tuple[str, int], int],
        *,
        epoch: int,
        batch_records: int,
        deliver: Callable[[Batch], Coroutine[None, None, None]],
        fail: Callable[[BaseException], None],
    ) -> None:
        """Prepare; `deliver` and `fail` are called on the event loop that is running now."""
        self._consumer = consumer
        self._positions = positions
        self._epoch = epoch
        self._batch_records = batch_records
        self._deliver = deliver
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self._room = threading.Semaphore(2)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"source-{epoch}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def done(self) -> None:
        """Tell that a batch has been processed, so that another may be read."""
        self._room.release()

    async def stop(self) -> None:
        """Read nothing more; nothing is delivered after this returns."""
        self._stopping.set()
        self._room.release()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:  # noqa: BLE001 whatever it is, the worker must not go on without a source
            self._loop.call_soon_threadsafe(self._fail, error)
        finally:
            self._consumer.close()

    def _check(self, delivery: Future[None]) -> None:
        error = None if delivery.cancelled() else delivery.exception()
        if error is not None:
            self._loop.call_soon_threadsafe(self._fail, error)

    def _read(self) -> None:
        self._consumer.assign(
            [TopicPartition(topic, partition, offset) for (topic, partition), offset in self._positions.items()]
        )
        number = 0
        while not self._stopping.is_set():
            found = read(self._consumer, self._batch_records, 0.1)
            if not found.records and not found.ends:
                continue
            self._room.acquire()
            if self._stopping.is_set():
                return
            delivery = asyncio.run_coroutine_threadsafe(
                self._deliver(Batch(self._epoch, number, found.records, found.ends)), self._loop
            )
            delivery.add_done_callback(self._check)
            number += 1
