"""What an agent's loop acknowledges: what its body has finished, nothing else."""

import asyncio

import pytest

from streams.engine.app import BatchStream
from streams.engine.assignment import Assignment
from streams.engine.outside import Clock
from streams.engine.source import Record
from streams.engine.stream import Inbox, Part
from streams.engine.writer import Checkpoint

EVENTS = [Record("t", 0, offset, b"k", b"v") for offset in range(10)]


class Acknowledging:
    """A writer to which nothing is written."""

    idle = True
    outstanding = 0
    waited_s = 0.0

    def poll(self) -> None:
        """Nothing is on its way."""

    def checkpoint(self, positions, received_at=None) -> Checkpoint:
        del positions, received_at
        return Checkpoint()


async def work_and_inbox() -> tuple[Assignment, Inbox, Part]:
    work = Assignment(
        Acknowledging(),
        Clock(),
        sources=["t"],
        partitions=[0],
        positions={},
        ends={},
        coalesce_ms=50,
        in_flight_records=1,
        in_flight_s=1.0,
    )
    queue: asyncio.Queue[Part] = asyncio.Queue()
    part = Part(work, list(EVENTS))
    queue.put_nowait(part)
    return work, Inbox(queue), part


def test_a_slice_is_acknowledged_when_its_body_is_done_and_not_before():
    async def check() -> None:
        work, inbox, part = await work_and_inbox()
        seen = []
        slices = inbox.slices(4)
        seen.append(len(await anext(slices)))
        assert work.position("t", 0) == 0
        seen.append(len(await anext(slices)))
        assert work.position("t", 0) == 4
        seen.append(len(await anext(slices)))
        waiting = asyncio.ensure_future(anext(slices))
        await asyncio.wait_for(part.finished, 10)
        assert (seen, work.position("t", 0)) == ([4, 4, 2], 10)
        waiting.cancel()

    asyncio.run(check())


def test_what_raises_is_not_acknowledged():
    async def check() -> None:
        work, inbox, part = await work_and_inbox()

        async def agent() -> None:
            async for events in inbox.slices(4):
                if events[0].offset == 4:
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await agent()
        assert work.position("t", 0) == 4
        assert not part.finished.done()

    asyncio.run(check())


def test_once_partitions_are_taken_away_the_rest_is_left():
    async def check() -> None:
        work, inbox, part = await work_and_inbox()
        slices = inbox.slices(4)
        await anext(slices)
        inbox.done(EVENTS[0])
        work.ending.set()
        waiting = asyncio.ensure_future(anext(slices))
        await asyncio.wait_for(part.finished, 10)
        assert work.position("t", 0) == 1
        waiting.cancel()

    asyncio.run(check())


@pytest.mark.parametrize("name", ["take", "take_with_timestamp", "noack_take", "group_by", "through"])
def test_what_would_acknowledge_too_early_cannot_be_used(name):
    with pytest.raises(NotImplementedError):
        getattr(BatchStream, name)(None)
