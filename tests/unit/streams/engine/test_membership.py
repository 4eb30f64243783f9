"""The group's client: what Faust and aiokafka would do by themselves and must not."""

import asyncio
from types import SimpleNamespace
from typing import Any

import aiokafka.client
import pytest
from aiokafka.protocol.metadata import MetadataRequest_v5
from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from streams.engine import faust_internals
from streams.engine.faust_internals import _MemberThread


def test_the_member_lets_no_broker_create_a_topic():
    assert faust_internals
    request = aiokafka.client.MetadataRequest(["missing"]).build(MetadataRequest_v5)
    assert request.to_object()["allow_auto_topic_creation"] is False


@pytest.mark.parametrize("callback", ["on_partitions_assigned", "on_partitions_revoked"])
def test_what_a_callback_raises_is_told_to_the_engine(callback: str):
    """Aiokafka would log it, and go on."""

    async def check() -> None:
        failures: list[BaseException] = []
        thread: Any = _MemberThread.__new__(_MemberThread)
        thread.parent_loop = asyncio.get_running_loop()
        thread.app = SimpleNamespace(owner=SimpleNamespace(on_failed=failures.append))
        with pytest.raises(ConsumerNotStarted):
            await getattr(thread, callback)({TP("t", 0)})
        await asyncio.sleep(0)
        assert [type(failure) for failure in failures] == [ConsumerNotStarted]

    asyncio.run(check())
