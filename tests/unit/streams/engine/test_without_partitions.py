"""A worker without partitions (more workers than partitions, or than copies leave room for) is one like the others."""

import asyncio
from collections.abc import Mapping
from unittest.mock import Mock

import pytest

from openbsp.kafka.connection import KafkaSettings
from streams.engine import engine as module
from streams.engine.damage import numbers
from streams.engine.engine import Engine, Hooks
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
