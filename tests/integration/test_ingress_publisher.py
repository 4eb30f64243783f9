"""The real publisher keeps the contract that the fake keeps."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from bridge.delivery.publisher import KafkaPublisher, Publisher, producer_config
from bridge.delivery.records import Record
from support.publisher_contract import Opened, PublisherContract

pytestmark = pytest.mark.integration


@pytest.fixture
def topic_names() -> list[str]:
    return ["messages"]


class TestKafkaPublisher(PublisherContract):
    @pytest.fixture
    def opened(self, contract) -> Opened:
        @contextlib.asynccontextmanager
        async def open_it() -> AsyncIterator[Publisher]:
            publisher = KafkaPublisher(producer_config(contract.kafka.librdkafka(), 20))
            yield publisher
            publisher.close()

        return open_it

    @pytest.fixture
    def topic(self, contract) -> str:
        return contract.topic("messages")


def test_it_tells_when_the_broker_appended_a_record_by_the_brokers_clock(contract):
    async def check() -> float:
        appended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        config = producer_config(contract.kafka.librdkafka(), 20)
        publisher = KafkaPublisher(config, on_appended=appended.set_result)
        publisher.publish(Record(contract.topic("messages"), b"key", b"value", []), lambda _: None)
        try:
            return await asyncio.wait_for(appended, 20) / 1000
        finally:
            publisher.close()

    before = time.time()
    # One machine, one clock.
    assert before - 1 < asyncio.run(check()) < time.time() + 1
