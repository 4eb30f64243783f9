"""For how long a worker may act as owner: a lease, from when it asked for the commit that confirmed it."""

import asyncio
from dataclasses import replace
from unittest.mock import AsyncMock, Mock

import pytest

from openbsp.kafka.connection import KafkaSettings
from streams.engine import engine as module
from streams.engine.engine import Engine
from streams.engine.hooks import Hooks
from streams.engine.lifecycle import State
from streams.engine.outside import Clock, Outside
from streams.engine.settings import EngineSettings
from streams.engine.table import OwnedTable, TableSpec
from streams.engine.takeover import NOTHING

AT = ("words", 0)


class Now(Clock):
    seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


def test_it_counts_from_the_question_however_late_the_first_answer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was cut off right after it answered reads while the group had given its partitions away."""
    monkeypatch.setattr(module, "Source", Mock())
    found = replace(NOTHING, positions={AT: 0}, ends={AT: 0})
    monkeypatch.setattr(module.Takeover, "run", AsyncMock(return_value=found))

    async def held() -> list[bool]:
        clock = Now()
        settings = EngineSettings(app_id="app", kafka=KafkaSettings(), url="", partitions=1, topic_prefix="p.")
        tables = {"counts": OwnedTable(TableSpec(source="words", changelog="counts"))}
        engine = Engine(
            settings,
            sources=["words"],
            tables=tables,
            inbox=Mock(),
            hooks=Hooks(),
            outside=Outside(clients=Mock(), clock=clock),
        )
        lease_s, asked_at = engine._lease.lease_s, clock.seconds

        async def answer_late(*_: object) -> None:
            clock.seconds += 0.45 * lease_s

        engine.membership = AsyncMock()
        engine.membership.committed.return_value = {}
        engine.membership.commit_positions = answer_late
        engine._lease.start()
        engine.on_owned(frozenset({0}), generation=1)
        assert engine._takeover is not None
        await engine._takeover[1]
        assert engine.lifecycle.state is State.RUNNING
        seen = [engine.holds_lease]
        for share in (0.9, 1.01):
            clock.seconds = asked_at + share * lease_s
            seen.append(engine.holds_lease)
            if engine.holds_lease:
                engine._lease.tick(owning=True)
        return seen

    assert asyncio.run(held()) == [True, True, False]
