"""A partition of which much is to be read keeps the others from nothing."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from simulation.history import run
from simulation.plan import plan_of
from streams.engine import engine
from streams.engine.lifecycle import State
from streams.engine.source import Record

HISTORIES = 60


def test_others_go_on_while_late_partitions_are_read(monkeypatch) -> None:
    """And are whole once these are read: each of these histories is judged as all are."""
    seen = Counter[str]()
    merge, widen = engine.process, engine.Engine._widen

    async def process(work: Any, records: Sequence[Record], *rest: Any) -> bool:
        late = [each for each in workers if each.assignment is work and each.late]
        seen["events while others are late"] += len(records) if late else 0
        for each in late:
            assert not {record.partition for record in records} & each.late
        return await merge(work, records, *rest)

    async def widened(self: Any, given: Any) -> None:
        late, before = self.late, self.assignment
        assert before is not None
        await widen(self, given)
        seen["late partitions that were read"] += len(late) if self._given is given else 0

    make = engine.Engine.__init__
    workers: list[Any] = []

    def init(self: Any, *args: Any, **named: Any) -> None:
        make(self, *args, **named)
        workers.append(self)

    monkeypatch.setattr(engine, "process", process)
    monkeypatch.setattr(engine.Engine, "_widen", widened)
    monkeypatch.setattr(engine.Engine, "__init__", init)
    for seed in range(HISTORIES):
        workers.clear()
        assert run(plan_of(seed)).wrong == []
    print("figure:", dict(seen))
    assert min(seen["events while others are late"], seen["late partitions that were read"]) > 0


def test_partitions_that_are_revoked_in_the_moment_in_which_late_ones_are_read_are_not_taken_over(monkeypatch) -> None:
    """What was to go on with all of them waits behind the revocation, and finds that it is void."""
    passed, lost = engine.Engine._on_passed, engine.Engine.on_lost
    losses = Counter[int]()
    seen = Counter[str]()

    async def lose(self: Any) -> None:
        losses[id(self)] += 1
        await lost(self)

    async def rebalance(self: Any, given: Any) -> None:
        await self.on_lost()
        before = losses[id(self)]
        await asyncio.sleep(0.5)
        if losses[id(self)] == before and self._given is None:
            assert self.lifecycle.state is State.REVOKED
            seen["revoked"] += 1
            self.on_owned(given.partitions, given.generation, given.standbys)

    def on_passed(self: Any) -> None:
        given = self._given
        if given is not None and self.late and not losses[-id(self)]:
            losses[-id(self)] = 1
            tasks.append(asyncio.create_task(rebalance(self, given)))
        passed(self)

    tasks: list[asyncio.Task[None]] = []
    monkeypatch.setattr(engine.Engine, "on_lost", lose)
    monkeypatch.setattr(engine.Engine, "_on_passed", on_passed)
    for seed in range(HISTORIES):
        losses.clear()
        assert run(plan_of(seed)).wrong == []
    assert [task.exception() for task in tasks if task.done() and not task.cancelled()].count(None) > 0
    assert not [error for task in tasks if task.done() and not task.cancelled() and (error := task.exception())]
    print("figure:", dict(seen))
    assert seen["revoked"] > 0
