"""Faust's end of a rebalance: one that is overtaken by the next, or by a stop, ends no worker."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.errors import IllegalStateError
from faust.tables.recovery import RebalanceAgain, ServiceStopped

from streams.engine.faust_internals import _Recovery


class Resuming(_Recovery):
    """Resumes as a test says: raises in turn, then counts."""

    def __init__(self, outcomes: list[type[Exception] | None]) -> None:
        super().__init__(SimpleNamespace(conf=SimpleNamespace(stream_recovery_delay=0.0)), None)
        self.outcomes = outcomes
        self.resumed: list[int] = []

    async def _resume_streams(self, generation_id: int = 0) -> None:
        self.resumed.append(generation_id)
        outcome = self.outcomes.pop(0)
        if outcome is not None:
            raise outcome

    async def rebalance(self, generation_id: int) -> None:
        self._generation_id = generation_id
        self.signal_recovery_start.set()
        for _ in range(100):
            await asyncio.sleep(0)


@pytest.mark.parametrize("overtaken", [RebalanceAgain, IllegalStateError])
def test_a_rebalance_that_the_next_one_overtakes_is_left_to_it(overtaken):
    async def check() -> None:
        recovery = Resuming([overtaken, None])
        running = asyncio.create_task(_Recovery._restart_recovery.fun(recovery))
        await recovery.rebalance(1)
        await recovery.rebalance(2)
        assert recovery.resumed == [1, 2]
        assert not running.done()
        running.cancel()

    asyncio.run(check())


def test_a_stop_in_the_middle_of_it_is_no_failure():
    async def check() -> None:
        recovery = Resuming([ServiceStopped])
        running = asyncio.create_task(_Recovery._restart_recovery.fun(recovery))
        await recovery.rebalance(1)
        await asyncio.wait_for(running, 10)

    asyncio.run(check())
