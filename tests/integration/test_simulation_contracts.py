"""The real servers keep what the simulation assumes of them (tests/simulation/contracts.py)."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from openbsp.kafka.connection import RegistrySettings
from openbsp.kafka.registry import Registry
from openbsp.local.ports import free_ports
from simulation.contracts import LogContract, RegistryContract
from support.wait import eventually

pytestmark = pytest.mark.integration


class RealBench:
    def __init__(self, contract: Any) -> None:
        self.topic = contract.topic("conversations")
        self.partitions = contract.topics.partitions
        self._connection = contract.kafka.librdkafka()

    def producer(self, **config: Any) -> Producer:
        return Producer(
            {
                **self._connection,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "log_level": 0,
                **config,
            }
        )

    def consumer(self, **config: Any) -> Consumer:
        return Consumer(
            {
                **self._connection,
                "group.id": "contract",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "log_level": 0,
                **config,
            }
        )

    def admin(self) -> AdminClient:
        return AdminClient(self._connection)

    def cut_off(self, **config: Any) -> Producer:
        return self.producer(**{"bootstrap.servers": f"127.0.0.1:{free_ports(1)[0]}", **config})

    def until(self, condition: Callable[[], object]) -> None:
        eventually(condition, within=30)


class TestLog(LogContract):
    @pytest.fixture
    def bench(self, contract: Any) -> RealBench:
        bench = RealBench(contract)
        # A topic that has just been made has no leaders for a moment.
        eventually(lambda: _led(bench))
        return bench


class TestRegistry(RegistryContract):
    @pytest.fixture
    def registry(self, contract: Any) -> Registry:
        return Registry(contract.registry, contract.prefix)

    @pytest.fixture
    def absent(self) -> Registry:
        return Registry(RegistrySettings(url=f"http://127.0.0.1:{free_ports(1)[0]}"), "absent.")


def _led(bench: RealBench) -> bool:
    consumer = bench.consumer()
    try:
        for partition in range(bench.partitions):
            consumer.get_watermark_offsets(TopicPartition(bench.topic, partition), timeout=5)
    except KafkaException:
        return False
    finally:
        consumer.close()
    return True
