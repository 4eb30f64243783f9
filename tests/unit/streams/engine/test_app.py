"""What the engine's app makes of its agents."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from openbsp.kafka.connection import KafkaSettings
from streams.engine.app import App, check_address
from streams.engine.errors import AgentEndedError, AssignmentError
from streams.engine.settings import EngineSettings


class Failing:
    """An engine that keeps what it was told to fail with."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []

    def fail(self, error: BaseException) -> None:
        self.failures.append(error)


def new_app() -> Any:
    return App(EngineSettings(app_id="a", kafka=KafkaSettings(), url="http://127.0.0.1:1", partitions=1))


async def failures_after(*, stopping: bool) -> list[BaseException]:
    app = new_app()
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
        app = new_app()
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
    assert new_app().conf.consumer_metadata_max_age_ms <= 5_000


def test_it_stays_in_its_group_although_it_asks_its_member_for_no_records():
    year_s = 365 * 24 * 60 * 60
    assert new_app().conf.broker_max_poll_interval > year_s


def test_faust_creates_no_topics():
    app = new_app()
    assert not app.conf.topic_allow_declare
    assert app.conf.topic_disable_leader


def test_an_app_that_is_made_at_import_belongs_to_no_event_loop_yet():
    app = new_app()
    app.agent(app.topic("t"), name="nothing")(lambda stream: stream)
    assert (app._loop, app._consumer, app._engine) == (None, None, None)


def test_a_stop_in_the_middle_of_a_rebalance_is_no_failure_of_what_fetches_for_faust():
    async def drain(_: Any) -> None:
        await asyncio.Event().wait()

    async def check() -> None:
        app = new_app()
        app._consumer = SimpleNamespace(_drain_messages=drain)
        app.rebalancing = True
        fetcher = app.transport.Fetcher(app)
        await fetcher.start()
        for _ in range(10):
            await asyncio.sleep(0)
        await fetcher.stop()
        assert fetcher.crash_reason is None

    asyncio.run(check())


class Owning:
    """An engine that keeps what it was told to own."""

    def __init__(self) -> None:
        self.owned: list[frozenset[int]] = []

    def on_owned(self, partitions: frozenset[int], _generation: int, _standbys: frozenset[int]) -> None:
        self.owned.append(partitions)


def test_the_end_of_a_rebalance_counts_once_and_only_while_its_assignment_stands():
    """Faust may be done with one when the next has begun, and while the app stops."""

    async def check() -> None:
        app = new_app()
        app.agent(app.topic("t"), name="nothing")(lambda stream: stream)
        engine = app._engine = Owning()
        app._consumer = SimpleNamespace(assignment=lambda: {TP("t", 0)})
        app.assignor._external_tps_url = {TP("t", 0): "http://127.0.0.1:1"}
        app.assigned()
        app.revoked()
        app.on_rebalance_end()
        assert engine.owned == []
        app.assigned()
        app.on_rebalance_end()
        app.on_rebalance_end()
        assert engine.owned == [{0}]
        app.assigned()
        app._stopped.set()
        app.on_rebalance_end()
        assert engine.owned == [{0}]

    asyncio.run(check())
