"""The simulated servers keep what the real ones promise (tests/integration/test_simulation_contracts.py)."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from simulation.contracts import LogContract, RegistryContract
from simulation.log import Cluster, Network, SimulatedProducer
from simulation.loop import SimulatedLoop
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

    def until(self, condition: Callable[[], object]) -> None:
        assert self.loop.until(lambda: bool(condition()), within=60)


@pytest.fixture(params=range(5))
def bench(request: pytest.FixtureRequest) -> Iterator[SimulatedBench]:
    made = SimulatedBench(request.param)
    yield made
    made.loop.shut()


class TestLog(LogContract):
    """Once for each of some seeds."""


class TestRegistry(RegistryContract):
    @pytest.fixture
    def registry(self) -> SimulatedRegistry:
        return SimulatedRegistry()

    @pytest.fixture
    def absent(self, registry: SimulatedRegistry) -> SimulatedRegistry:
        registry.available = False
        return registry
