"""A worker writes no more than the broker acknowledges in time: its own burst must not end it."""

import asyncio
from collections import deque
from random import Random
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError

from simulation.log import SimulatedMessage
from simulation.loop import Clock, SimulatedLoop
from streams.engine.assignment import Assignment
from streams.engine.errors import WriteFailedError
from streams.engine.writer import Writer

#: As with 64 partitions: five logs of each.
LOGS = 320
LEASE_S = 8.0
BATCHES = 1_000
#: Requests that the broker answers in a second; each has the records of one log, as librdkafka sends them.
REQUESTS_PER_S = 160


class Burdened:
    """A producer whose broker is slow, and which takes the logs that have records in no order."""

    def __init__(self, loop: SimulatedLoop, config) -> None:
        self.loop, self.random = loop, Random(7)
        self.patience_s = config["message.timeout.ms"] / 1000
        self.queues: dict[tuple[str, int], deque] = {}
        self.reports: deque = deque()
        self.longest_s = 0.0
        self.requests = 0

    def produce(self, topic, value, key, partition, delivered, headers=None) -> None:  # noqa: PLR0917 librdkafka's
        del value, key, headers
        if not self.queues:
            self.loop.outside(1 / REQUESTS_PER_S, self._answer)
        self.queues.setdefault((topic, partition), deque()).append((self.loop.now, delivered))

    def _answer(self) -> None:
        at = self.random.choice(list(self.queues))
        self.requests += 1
        for began, delivered in self.queues.pop(at):
            waited_s = self.loop.now - began
            self.longest_s = max(self.longest_s, waited_s)
            error = KafkaError(KafkaError._MSG_TIMED_OUT) if waited_s > self.patience_s else None
            self.reports.append((delivered, error, SimulatedMessage(at, 0, None, None, None, error)))
        if self.queues:
            self.loop.outside(1 / REQUESTS_PER_S, self._answer)

    def purge(self) -> None:
        purged = KafkaError(KafkaError._PURGE_QUEUE)
        for at, waiting in self.queues.items():
            self.reports += [
                (told, purged, SimulatedMessage(at, -1001, None, None, None, purged)) for _, told in waiting
            ]
            waiting.clear()

    def poll(self, timeout: float = 0.0) -> int:
        del timeout
        while self.reports:
            delivered, error, message = self.reports.popleft()
            delivered(error, message)
        return 0


class Rows:
    """Contents in which each batch changes something in all partitions."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self.writer, self.clock = writer, clock
        self.flushed = 0

    def publishing(self):
        return iter(())

    def flushing(self):
        for log in range(LOGS):
            self.writer.write("changelog", b"k", b"v", log)
            yield
        self.flushed += 1


def work_off(in_flight_s: float, *, batches: int) -> tuple[Burdened, Rows, float]:
    """Work off a backlog, of which each batch takes 20 ms, and writes to many logs at once; return how long it took."""
    loop = SimulatedLoop()
    clock = Clock(loop)
    made: list[Burdened] = []

    def producer(config):
        made.append(Burdened(loop, config))
        return made[0]

    async def run() -> tuple[Rows, float]:
        writer = Writer(SimpleNamespace(producer=producer), clock, {}, LEASE_S)
        work = Assignment(
            writer,
            clock,
            sources=["t"],
            partitions=[0],
            positions={},
            ends={},
            coalesce_ms=50,
            in_flight_records=100_000,
            in_flight_s=in_flight_s,
            turn_s=0.0,
        )
        rows = Rows(writer, clock)
        work.contents = {"table": {0: rows}}
        for batch in range(batches):
            await work.begin()
            await asyncio.sleep(0.02)
            for log in range(batch % 8, LOGS, 8):
                writer.write("contributions", b"k", b"v", log)
                await work.breathe()
            await work.end([], complete=True, changed=True)
            await work.room()
        await work.close()
        return rows, clock.monotonic()

    try:
        rows, seconds = loop.run_until_complete(run())
    finally:
        loop.shut()
    return made[0], rows, seconds


def test_records_are_acknowledged_in_time_however_long_the_backlog():
    """None waits for longer than it takes the broker to come round to each log once, and a moment."""
    broker, rows, seconds = work_off(LEASE_S / 8, batches=BATCHES)
    print(f"\nfigure: {seconds:.0f} s of backlog, longest wait {broker.longest_s:.1f} s, {rows.flushed} flushes")
    assert broker.longest_s < LEASE_S / 8 + 2 * LOGS / REQUESTS_PER_S + 0.1


def test_a_broker_that_is_behind_is_sent_fewer_and_larger_requests():
    _, rows, _ = work_off(LEASE_S / 8, batches=BATCHES)
    # What has changed waits for about as long as what is on its way.
    assert rows.flushed < BATCHES / 4


def test_without_backpressure_the_same_burst_ends_the_worker():
    with pytest.raises(WriteFailedError, match=r"not acknowledged within 7\.6 s"):
        work_off(float("inf"), batches=BATCHES)


class Silent:
    """A producer whose broker says nothing, until what waits is given up."""

    def __init__(self) -> None:
        self.waiting: list = []
        self.told: list = []
        self.taken = 0

    def produce(self, topic, value, key, partition, delivered, headers=None) -> None:  # noqa: PLR0917 librdkafka's
        del value, key, headers
        self.taken += 1
        self.waiting.append((delivered, (topic, partition)))

    def purge(self) -> None:
        self.told, self.waiting = self.told + self.waiting, []

    def poll(self, timeout: float = 0.0) -> int:
        del timeout
        while self.told:
            delivered, at = self.told.pop(0)
            error = KafkaError(KafkaError._PURGE_QUEUE)
            delivered(error, SimulatedMessage(at, -1001, None, None, None, error))
        return 0


@pytest.mark.parametrize("refused", [False, True])
def test_nothing_is_sent_without_what_was_before_it(*, refused: bool):
    """Each record times out by itself: what was written later would be, without the mark that was before it."""
    producer, now = Silent(), SimpleNamespace(s=0.0)
    writer = Writer(SimpleNamespace(producer=lambda _: producer), SimpleNamespace(monotonic=lambda: now.s), {}, LEASE_S)
    writer.write("changelog", b"", b"mark", 0)
    now.s = LEASE_S * 0.9
    writer.write("changelog", b"k", b"v", 0)
    writer.poll()
    if refused:
        producer.told, producer.waiting = producer.waiting[:1], producer.waiting[1:]
    else:
        now.s = LEASE_S * 0.96
    with pytest.raises(WriteFailedError, match="changelog: the broker did not take a record"):
        writer.poll()
    assert producer.waiting == []
    with pytest.raises(WriteFailedError):
        writer.write("changelog", b"k", b"later", 0)
    assert producer.taken == 2
