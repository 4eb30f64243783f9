"""What the engine's app makes of its agents."""

import asyncio
from typing import Any

import pytest

from openbsp.kafka.connection import KafkaSettings
from streams.engine.app import App, check_address
from streams.engine.settings import EngineSettings
from streams.errors import AgentEndedError, AssignmentError


class Failing:
    """An engine that keeps what it was told to fail with."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []

    def fail(self, error: BaseException) -> None:
        self.failures.append(error)


async def failures_after(*, stopping: bool) -> list[BaseException]:
    app: Any = App(EngineSettings(app_id="a", kafka=KafkaSettings(), url="http://127.0.0.1:1", partitions=1))
    engine = app._engine = Failing()

    async def first_only(stream: Any) -> None:
        async for _ in stream:
            return

    agent = app.agent(app.topic("t"), name="first_only")(first_only)

    async def events() -> Any:
        yield 1

    if stopping:
        app._stopped.set()
    await agent.fun(events())
    return engine.failures


def test_an_agent_that_returns_ends_the_worker():
    (failure,) = asyncio.run(failures_after(stopping=False))
    assert isinstance(failure, AgentEndedError)


def test_an_agent_that_returns_while_the_app_stops_does_not():
    assert asyncio.run(failures_after(stopping=True)) == []


def test_a_batch_in_work_goes_on_while_a_stop_has_suspended_the_flow():
    """Faust suspends it, then waits for what is in work: the next agent's part of the batch must not wait for it."""

    async def check() -> None:
        app = App(EngineSettings(app_id="a", kafka=KafkaSettings(), url="http://127.0.0.1:1", partitions=1))
        queue = app.FlowControlQueue()
        app.flow_control.suspend()
        await asyncio.wait_for(queue.put("part"), 10)
        assert queue.get_nowait() == "part"

    asyncio.run(check())


def test_two_workers_with_one_address_are_refused_with_what_to_do():
    """Faust tells of owners by address, so that of two with one address one is missing."""
    check_address("http://a", {0, 2}, {0: "http://a", 1: "http://b", 2: "http://a"})
    check_address("http://c", set(), {0: "http://a"})
    with pytest.raises(AssignmentError, match=r"another worker advertises http://a as well.*\(THE_URL\)"):
        check_address("http://a", {0, 2}, {1: "http://a"}, "THE_URL")


def test_who_distributes_partitions_asks_soon_again_for_topics_that_it_took_to_be_missing():
    """After a broker came back and said for a moment that it has none, a worker had no partitions for five minutes."""
    app: Any = App(EngineSettings(app_id="a", kafka=KafkaSettings(), url="http://127.0.0.1:1", partitions=1))
    assert app.conf.consumer_metadata_max_age_ms <= 5_000
