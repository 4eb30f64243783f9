"""The simulated servers keep what the real ones promise (tests/integration/test_simulation_contracts.py)."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from simulation.contracts import CoordinatorContract, LogContract, RefusalContract, RegistryContract
from simulation.coordinator import Group, Member
from simulation.log import Cluster, Network, SimulatedProducer
from simulation.loop import Process, SimulatedLoop
from simulation.registry import SimulatedRegistry


class SimulatedBench:
    topic = "topic"
    partitions = 4

    def __init__(self, seed: int) -> None:
        self.loop = SimulatedLoop()
        self.cluster = Cluster(Network(self.loop, Random(seed)))
        self.cluster.create(self.topic, self.partitions)

    def producer(self, **config: Any) -> SimulatedProducer:
        return self.cluster.producer({"linger.ms": 5, **config})

    def consumer(self, **config: Any) -> Any:
        return self.cluster.consumer({"enable.partition.eof": True, "auto.offset.reset": "earliest", **config})

    def admin(self) -> Any:
        return self.cluster.admin({})

    def cut_off(self, **config: Any) -> Any:
        producer = self.producer(**config)
        producer.unplugged = True
        return producer

    def delete(self, partition: int, before: int) -> None:
        self.cluster.log(self.topic, partition).delete(before)

    def until(self, condition: Callable[[], object]) -> None:
        assert self.loop.until(lambda: bool(condition()), within=60)


@pytest.fixture(params=range(5))
def bench(request: pytest.FixtureRequest) -> Iterator[SimulatedBench]:
    made = SimulatedBench(request.param)
    yield made
    made.loop.shut()


class TestLog(LogContract):
    """Once for each of some seeds."""


class HeldUpBench(SimulatedBench):
    def producer(self, **config: Any) -> SimulatedProducer:
        made = super().producer(**config)
        made.hold()
        return made

    def hold(self) -> None:
        for producer in self.cluster.producers:
            producer.hold()

    @property
    def held(self) -> int:
        return sum(producer.holds for producer in self.cluster.producers)

    def release(self, refused: bytes) -> None:
        del refused
        self.cluster.network.refusals = 1.0
        for producer in self.cluster.producers:
            producer.release()


class TestRefusal(RefusalContract):
    @pytest.fixture
    def held_up(self) -> Iterator[HeldUpBench]:
        made = HeldUpBench(0)
        yield made
        made.loop.shut()


class SimulatedMember:
    """A member in a process of its own."""

    def __init__(self, bench: "SimulatedGroup", url: str, name: str | None) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.last_words: dict[Any, int] = {}
        self.answered: list[str | None] = []
        self._bench = bench
        self.process = Process(bench.loop, url)
        self.member = Member(bench.group, url, name)
        self._done(self._start())

    async def _start(self) -> None:
        self.member.start(self)

    def on_owned(self, partitions: frozenset[int], generation: int, _: frozenset[int]) -> None:
        self.heard.append(("owned", partitions, generation))

    async def on_lost(self) -> None:
        self.heard.append(("lost",))

    def fail(self, error: BaseException) -> None:
        self.heard.append(("failed", error))
        saying = self.process.spawn(self.member.commit_positions(self.last_words, {}, 5))
        saying.add_done_callback(lambda said: self.answered.append(said.result()))

    def commit(self, positions: dict[Any, int], notes: dict[Any, str]) -> str | None:
        return self._done(self.member.commit_positions(positions, notes, 5))

    def committed(self, partitions: list[Any]) -> dict[Any, tuple[int, str]]:
        return {at: tuple(left) for at, left in self._done(self.member.committed(partitions)).items()}

    def owners(self) -> dict[int, str]:
        return self.member.owners(self._bench.topic)

    def freeze(self) -> None:
        self.process.pause()
        self._bench.loop.outside(self._bench.group.session_s * 2, self.process.resume)

    def leave(self) -> None:
        self._done(self.member.stop())

    def _done(self, coroutine: Any) -> Any:
        return self._bench.loop.run_until_complete(self.process.spawn(coroutine))


class SimulatedGroup:
    topic = "topic"
    partitions = 4

    def __init__(self, seed: int) -> None:
        self.loop = SimulatedLoop()
        self.group = Group(Network(self.loop, Random(seed)), [self.topic], self.partitions, session_s=1.0)

    def join(self, url: str, name: str | None = None) -> SimulatedMember:
        return SimulatedMember(self, url, name)

    def until(self, condition: Callable[[], object]) -> None:
        assert self.loop.until(lambda: bool(condition()), within=60)


class TestCoordinator(CoordinatorContract):
    @pytest.fixture(params=range(5))
    def group(self, request: pytest.FixtureRequest) -> Iterator[SimulatedGroup]:
        made = SimulatedGroup(request.param)
        yield made
        made.loop.shut()


class TestRegistry(RegistryContract):
    @pytest.fixture
    def registry(self) -> SimulatedRegistry:
        return SimulatedRegistry()

    @pytest.fixture
    def absent(self, registry: SimulatedRegistry) -> SimulatedRegistry:
        registry.available = False
        return registry
