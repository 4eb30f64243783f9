"""A worker without partitions (more workers than partitions, or than copies leave room for) is one like the others."""

import asyncio
from collections.abc import Mapping
from unittest.mock import AsyncMock, Mock

import pytest

from openbsp.kafka.connection import KafkaSettings
from streams.engine import engine as module
from streams.engine.damage import numbers
from streams.engine.engine import Engine
from streams.engine.faust_internals import _MemberThread
from streams.engine.hooks import Hooks
from streams.engine.outside import Clock, Outside
from streams.engine.settings import EngineSettings
from streams.engine.table import OwnedTable, TableSpec

TOPICS = {name: f"id of {name}" for name in ("words", "p.counts", "p.state")}


class Now(Clock):
    seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


async def without_partitions(clock: Clock, identify: Mapping[str, str]) -> Engine:
    """Return an engine that was assigned nothing."""
    settings = EngineSettings(app_id="app", kafka=KafkaSettings(), url="", partitions=1, topic_prefix="p.")
    tables = {"counts": OwnedTable(TableSpec(source="words", changelog="counts", guarded=("state",)))}
    outside = Outside(clients=Mock(), clock=clock)
    engine = Engine(settings, sources=["words"], tables=tables, inbox=Mock(), hooks=Hooks(), outside=outside)
    engine.identify = lambda: identify
    engine.membership = AsyncMock()
    engine.membership.ask_coordinator.return_value = None
    engine._lease.start()
    engine.on_owned(frozenset(), generation=1)
    assert engine._takeover is not None
    await engine._takeover[1]
    assert engine.assignment is not None
    return engine


def test_it_answers_for_as_long_as_it_runs() -> None:
    """It is asked for rows of others, which it fetches: it was not ready once a lease had passed."""

    async def held() -> list[bool]:
        clock, found = Now(), []
        engine = await without_partitions(clock, TOPICS)
        for _ in range(4):
            clock.seconds += engine._lease.lease_s * 3 / 4
            engine._lease.tick(owning=True)
            await engine._checkpoints.commit()
            found.append(engine.holds_lease)
        return found

    assert asyncio.run(held()) == [True] * 4


def test_it_answers_no_longer_than_a_lease_while_the_group_is_silent() -> None:
    """Its owners are those of the last rebalance: cut off from Kafka, it went on to send its readers to them."""

    async def held() -> list[bool]:
        clock, found = Now(), []
        engine = await without_partitions(clock, TOPICS)
        for silent in (True, True, False):
            engine.membership.ask_coordinator = AsyncMock(return_value="silent" if silent else None)
            clock.seconds += engine._lease.lease_s * 3 / 4
            engine._lease.tick(owning=True)
            assert await engine._checkpoints.commit() is not silent
            found.append(engine.holds_lease)
        return found

    assert asyncio.run(held()) == [True, False, True]


class Coordinator:
    """Answers aiokafka's questions for positions, or does not."""

    def __init__(self, *, silent: bool) -> None:
        self.silent = silent
        self.asked: list[object] = []

    async def fetch_committed_offsets(self, partitions: list[object]) -> dict[object, object]:
        self.asked += partitions
        if self.silent:
            await asyncio.Event().wait()
        return {}


@pytest.mark.parametrize("silent", [False, True])
def test_in_place_of_a_commit_it_asks_the_coordinator(silent: bool) -> None:  # noqa: FBT001 a parameter
    """Aiokafka is done with a commit of nothing without a request."""
    coordinator = Coordinator(silent=silent)
    consumer = Mock(_coordinator=coordinator, assignment=set)
    thread = Mock(app=Mock(owner=Mock(sources=frozenset({"words", "letters"}))), _ensure_consumer=lambda: consumer)
    thread._coordinator = coordinator
    thread.committed = lambda partitions: _MemberThread.committed(thread, partitions)

    async def ask() -> None:
        async with asyncio.timeout(0.01 if silent else 30):
            await _MemberThread.ask_coordinator(thread)

    if silent:
        with pytest.raises(TimeoutError):
            asyncio.run(ask())
    else:
        asyncio.run(ask())
    assert coordinator.asked == [("letters", 0)]


def test_it_knows_the_topics_and_ends_for_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its event streams name the state topic, and the consumer of its copies would wait for ever."""
    monkeypatch.setattr(module, "_TOPICS_INTERVAL_S", 0.0)

    async def end() -> str:
        engine = await without_partitions(Now(), TOPICS)
        assert engine.identity("p.state") == numbers(TOPICS)["p.state"]
        engine.identify = lambda: TOPICS | {"p.counts": "another"}
        watch = asyncio.create_task(engine._watch_topics())
        error = await asyncio.wait_for(engine.failure, 30)
        watch.cancel()
        return str(error)

    assert asyncio.run(end()) == "p.counts was created again; a restart writes all of it once more"


def test_topics_that_no_broker_told_at_first_are_noted_once_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would notice that they are created again, until the next rebalance."""
    monkeypatch.setattr(module, "_TOPICS_INTERVAL_S", 0.0)

    async def end() -> str:
        engine = await without_partitions(Now(), {})
        told = iter([{}, {"p.state": TOPICS["p.state"]}, TOPICS, TOPICS])
        engine.identify = lambda: next(told, TOPICS | {"words": "another"})
        watch = asyncio.create_task(engine._watch_topics())
        error = await asyncio.wait_for(engine.failure, 30)
        watch.cancel()
        assert engine.identity("p.state") == numbers(TOPICS)["p.state"]
        return str(error)

    assert asyncio.run(end()) == "words was created again; a restart reads all of it"
