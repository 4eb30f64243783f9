"""A source that nobody answers ends its worker, unless the group does not answer either; an idle one waits."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from simulation.log import Cluster, Network
from simulation.loop import Clock, SimulatedLoop
from simulation.outside import Threads
from streams.engine import source
from streams.engine.errors import SourceLostError
from streams.engine.source import Batch, Source


class World:
    """A source of one partition, and a group that answers every two seconds."""

    def __init__(self) -> None:
        self.loop = SimulatedLoop()
        self.network = Network(self.loop, Random(1))
        self.cluster = Cluster(self.network)
        self.cluster.create("events", 1)
        self.consumer: Any = self.cluster.consumer({"enable.partition.eof": True, "auto.offset.reset": "error"})
        self.failures: list[BaseException] = []
        self.read: list[int] = []
        #: When the source asked for a sign of life.
        self.asked: list[float] = []
        self.group_is_there = True
        self.confirmed = 0.0
        self._describe = self.consumer.list_topics
        self.consumer.list_topics = self._ask
        self.answers = True

    async def _deliver(self, batch: Batch) -> None:
        self.read += [record.offset for record in batch.records]
        self.source.done()

    def _ask(self, topic: str, *, timeout: float) -> Any:
        self.asked.append(self.loop.now)
        if not self.answers:
            self.network.owed_s += timeout
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return self._describe(topic, timeout)

    def lose(self) -> None:
        """Let the consumer lose its last broker: it reads nothing and is answered nothing."""
        self.answers = False
        self.consumer._fetch = lambda: None

    async def _group(self) -> None:
        while True:
            await asyncio.sleep(2)
            if self.group_is_there:
                self.confirmed = self.loop.now - 0.1

    async def _start(self) -> None:
        self.source = Source(
            self.consumer,
            Threads(self.network),  # type: ignore[arg-type] # as the simulation has them
            {("events", 0): 0},
            batch_records=10,
            deliver=self._deliver,
            fail=self.failures.append,
            clock=Clock(self.loop),  # type: ignore[arg-type] # as above
            group_answered=lambda at: self.confirmed > at,
        )
        self.source.start()
        self._asking = asyncio.create_task(self._group())

    def start(self) -> None:
        self.loop.run_until_complete(self._start())

    def passes(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    made.start()
    yield made
    made.loop.shut()


def test_a_source_that_has_lost_its_brokers_ends_the_worker(world: World):
    world.passes(10)
    world.lose()
    world.cluster.log("events", 0).append(b"key", b"value")
    world.passes(source._PATIENCE_S - 15)
    assert (world.asked, world.failures) == ([], [])
    world.passes(60)
    (failure,) = world.failures
    assert isinstance(failure, SourceLostError)
    assert "no broker has answered the client that reads the sources for 7" in str(failure)
    assert len(world.asked) == source._TRIES


def test_a_source_with_nothing_to_read_asks_now_and_then_and_goes_on(world: World):
    world.passes(600)
    assert len(world.asked) == pytest.approx(9, abs=1)
    world.cluster.log("events", 0).append(b"key", b"value")
    world.passes(1)
    assert (world.read, world.failures) == ([0], [])


def test_a_partition_without_a_leader_is_no_sign_of_a_lost_client(world: World):
    """Its source waits with it, and with it alone: the others are read."""
    world.cluster.away(("events", 0), 3_600)
    world.passes(3_600)
    world.cluster.log("events", 0).append(b"key", b"value")
    world.passes(5)
    assert (world.read, world.failures) == ([0], [])


def test_while_the_group_is_not_answered_either_the_lease_decides(world: World):
    world.lose()
    world.group_is_there = False
    world.passes(3_600)
    assert world.failures == []
    assert len(world.asked) > source._TRIES
    world.group_is_there = True
    world.passes(60)
    assert isinstance(world.failures[0], SourceLostError)


def test_kafka_that_comes_back_for_all_ends_nobody(world: World):
    """Also if the group answers first, and also again and again: what was not answered then is forgotten."""
    for _ in range(5):
        world.answers, world.group_is_there = False, False
        world.passes(90)
        world.group_is_there = True
        world.passes(5)
        world.answers = True
        world.passes(90)
    assert world.failures == []


def test_a_source_that_is_stopped_while_it_asks_for_the_last_time_ends_nobody(world: World):
    world.lose()
    while len(world.asked) < source._TRIES:
        world.passes(0.1)
    world.loop.run_until_complete(world.source.stop())
    assert world.failures == []


def test_what_waits_for_room_is_no_silence(world: World, monkeypatch: pytest.MonkeyPatch):
    done: list[Callable[[], None]] = []

    async def deliver(_: Batch) -> None:
        done.append(partial(world.source.done))

    monkeypatch.setattr(world.source, "_deliver", deliver)
    for _ in range(4):
        world.cluster.log("events", 0).append(b"key", b"value")
        world.passes(1)
    world.passes(600)
    world.lose()
    while done:
        done.pop()()
    world.passes(source._PATIENCE_S - 5)
    assert (world.asked, world.failures) == ([], [])
