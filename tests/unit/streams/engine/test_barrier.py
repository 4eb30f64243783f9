"""A barrier waits for as long as it takes, and says for whom."""

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from streams.engine import barrier as module
from streams.engine.barrier import Barrier
from streams.engine.membership import Committed


def test_whoever_is_waited_for_for_long_is_told_again_and_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(module, "_TOLD_AFTER", 3)
    monkeypatch.setattr(module, "_TOLD_EVERY", 2)
    ends = AsyncMock()
    ends.of.return_value = {("words", 0): 5, ("words", 1): 0, ("words", 2): 7}
    membership = AsyncMock()
    behind = {("words", 0): Committed(5, ""), ("words", 2): Committed(6, "")}
    reached = {("words", number): Committed(7, "") for number in range(3)}
    membership.committed.side_effect = [behind] * 7 + [reached]
    work: Any = Mock()
    barrier = Barrier(work, lambda: work, membership, ends, Mock(), 3)
    assert asyncio.run(barrier.everywhere("words"))
    told = [record.getMessage().partition("all that was in ")[2].partition(".")[0] for record in caplog.records]
    assert told == ["words[1], words[2]"] * 3


def test_nothing_is_written_beside_who_waits_for_all_of_it() -> None:
    async def check() -> None:
        work: Any = SimpleNamespace(settling=True)
        barrier = Barrier(work, lambda: work, AsyncMock(), AsyncMock(), Mock(outstanding=0), 3)
        waiting = asyncio.create_task(barrier.room())
        await asyncio.sleep(3 * module._WAIT_S)
        assert not waiting.done()
        work.settling = False
        assert await waiting

    asyncio.run(check())
