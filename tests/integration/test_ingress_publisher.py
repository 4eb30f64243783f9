"""The real publisher keeps the contract that the fake keeps."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from bridge.delivery.publisher import KafkaPublisher, Publisher, producer_config
from support.publisher_contract import Opened, PublisherContract

pytestmark = pytest.mark.integration


class TestKafkaPublisher(PublisherContract):
    @pytest.fixture
    def opened(self, contract) -> Opened:
        @contextlib.asynccontextmanager
        async def open_it() -> AsyncIterator[Publisher]:
            publisher = KafkaPublisher(producer_config(contract.kafka.librdkafka(), 20))
            yield publisher
            await publisher.close(5)

        return open_it

    @pytest.fixture
    def topic(self, contract) -> str:
        return contract.topic("messages")
