"""A loop that does not come back is noticed by a thread; one that is only busy, or ends, is not."""

import asyncio
import threading

from streams.engine.errors import FrozenError
from streams.engine.watchdog import watchdog


def test_a_loop_that_does_not_come_back_is_reported_with_where_it_stands():
    found: list[FrozenError] = []
    noticed = threading.Event()

    def frozen(error: FrozenError) -> None:
        found.append(error)
        noticed.set()

    async def stand_still() -> None:
        with watchdog(0.2, frozen, look_every_s=0.01):
            assert noticed.wait(30)

    asyncio.run(stand_still())
    (error,) = found
    assert "event loop has not run" in str(error)
    assert "stand_still" in str(error)


def test_a_loop_that_runs_is_left_alone_and_the_thread_ends_with_it():
    found: list[FrozenError] = []

    async def run() -> threading.Thread:
        with watchdog(0.5, found.append, look_every_s=0.01) as watcher:
            await asyncio.sleep(1)
        return watcher

    assert not asyncio.run(run()).is_alive()
    assert found == []
