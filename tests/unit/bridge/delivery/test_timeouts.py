"""Many time limits with one timer."""

import asyncio
import time

from bridge.delivery.timeouts import Timeouts


def test_members_expire_in_order_and_not_before_their_time():
    async def check() -> None:
        loop = asyncio.get_running_loop()
        expired: list[tuple[int, float]] = []
        done = asyncio.Event()
        started = {}

        def expire(member: int) -> None:
            expired.append((member, loop.time() - started[member]))
            if member == 4:
                done.set()

        timeouts: Timeouts[int] = Timeouts(0.05, expire)
        for member in range(5):
            started[member] = loop.time()
            timeouts.add(member, time.monotonic())
            if member == 2:
                timeouts.discard(2)  # at once: a busy machine may take longer than its time until the last is added
            await asyncio.sleep(0.01)
        timeouts.discard(99)
        await asyncio.wait_for(done.wait(), 5)
        assert [member for member, _ in expired] == [0, 1, 3, 4]
        assert all(after >= 0.045 for _, after in expired)
        assert len(timeouts) == 0

    asyncio.run(check())


def test_it_goes_on_after_a_rest():
    async def check() -> None:
        expired: asyncio.Queue[str] = asyncio.Queue()
        timeouts: Timeouts[str] = Timeouts(0.01, expired.put_nowait)
        for member in ("first", "second"):
            timeouts.add(member, time.monotonic())
            assert await asyncio.wait_for(expired.get(), 5) == member

    asyncio.run(check())
