"""Others have their turn in the middle of whatever is long: no read, no commit and no lease waits for a whole batch."""

import asyncio
from collections.abc import Coroutine, Generator
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from avro.codec import UnknownSchemaIdError
from streams.agents.intake import Intake
from streams.agents.removal import Removal, Remover
from streams.contract import Contract
from streams.engine.assignment import Assignment
from streams.engine.engine import Engine
from streams.engine.errors import WriteFailedError
from streams.engine.source import Batch, Record
from streams.engine.stream import Inbox
from streams.engine.writer import Checkpoint
from support.join import IDS, Join, empty_stores, program

STEP_S, TURN_S = 0.01, 0.02
STEPS = 100

#: Takes everything, and the broker has acknowledged it at once.
WRITER = SimpleNamespace(
    idle=True,
    outstanding=0,
    waited_s=0.0,
    poll=lambda: None,
    write=lambda *_, **__: None,
    checkpoint=lambda *_: Checkpoint(),
)


class Watch:
    """A clock on which only work takes time."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


class Slow:
    """Contents of which each step takes 10 ms, and which notice if events are merged between two of them."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.half_done = False
        self.flushed = 0

    def _steps(self):
        assert not self.half_done
        self.half_done = True
        for _ in range(STEPS):
            self.watch.now_s += STEP_S
            yield
        self.half_done = False

    def publishing(self):
        yield from self._steps()

    def flushing(self):
        yield from self._steps()
        self.flushed += 1


class Acknowledging:
    """A writer whose broker has acknowledged one more record at each poll."""

    outstanding = 0
    waited_s = 0.0

    @property
    def idle(self) -> bool:
        return not self.outstanding

    def poll(self) -> None:
        self.outstanding = max(0, self.outstanding - 1)

    def checkpoint(self, *_: object) -> Checkpoint:
        return Checkpoint()


def work_of(watch: Watch, contents: Slow, *, coalesce_ms: int, writer: Any = WRITER) -> Assignment:
    work = Assignment(
        writer,
        watch,
        sources=["t"],
        partitions=[0],
        positions={},
        ends={},
        coalesce_ms=coalesce_ms,
        in_flight_records=1,
        in_flight_s=1.0,
        turn_s=TURN_S,
    )
    work.contents = {"table": {0: contents}}
    return work


async def longest_wait_s(watch: Watch, work) -> float:
    """Run `work`; return the longest time for which another task did not have its turn meanwhile."""
    longest, last = 0.0, watch.now_s
    task = asyncio.ensure_future(work)
    while not task.done():
        await asyncio.sleep(0)
        longest, last = max(longest, watch.now_s - last), watch.now_s
    await task
    return longest


def test_others_have_their_turn_while_what_a_batch_leads_to_is_written():
    async def check() -> None:
        watch = Watch()
        contents = Slow(watch)
        work = work_of(watch, contents, coalesce_ms=0)
        await work.begin()
        assert await longest_wait_s(watch, work.end([], complete=True, changed=True)) <= TURN_S + STEP_S
        # Published at the end of the batch, and once more with the flush.
        assert (contents.flushed, round(watch.now_s - 100.0)) == (1, 3)

    asyncio.run(check())


def test_who_waits_for_a_moment_between_two_batches_has_it_while_others_are_queued():
    """A repair would wait for the end of the backlog."""

    async def check() -> None:
        watch = Watch()
        work = work_of(watch, Slow(watch), coalesce_ms=50)
        batches: asyncio.Queue[Batch] = asyncio.Queue()
        for _ in range(50):
            batches.put_nowait(Batch([], []))

        async def process_one(work: Assignment, _: Batch) -> None:
            await work.begin()
            await asyncio.sleep(0)
            await work.end([], complete=True, changed=False)

        engine: Any = SimpleNamespace(_mark_first=AsyncMock(), _process=process_one, fail=pytest.fail)
        source: Any = SimpleNamespace(done=lambda: None)
        processing = asyncio.create_task(Engine._process_all(engine, work, source, batches))
        await asyncio.sleep(0)
        await work.begin()
        assert batches.qsize() >= 48
        processing.cancel()

    asyncio.run(check())


def test_a_worker_that_cannot_write_its_marks_ends_and_takes_no_batch():
    async def check() -> None:
        batches: asyncio.Queue[Batch] = asyncio.Queue()
        batches.put_nowait(Batch([], []))
        engine = AsyncMock(fail=Mock())
        engine._mark_first.side_effect = error = WriteFailedError("not taken")
        await Engine._process_all(engine, Mock(), Mock(), batches)
        engine.fail.assert_called_once_with(error)
        engine._process.assert_not_called()

    asyncio.run(check())


def test_who_writes_beside_does_not_put_off_the_acknowledgement_of_all():
    """A search for idle conversations goes on for minutes, and a removal holds up all sources."""

    async def check() -> None:
        watch, writer = Watch(), Acknowledging()
        work = work_of(watch, Slow(watch), coalesce_ms=50, writer=writer)

        async def search() -> None:
            while True:
                await work.room()
                writer.outstanding += 1
                await asyncio.sleep(0)

        searching = asyncio.create_task(search())
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await work.settle()
        assert writer.idle
        searching.cancel()

    asyncio.run(check())


def removal(inbox: Inbox) -> Coroutine[None, None, None]:
    """Return one that is not done, after long thought."""
    intake: Any = None
    clock: Any = inbox.work._clock
    table: Any = None

    def judging() -> Generator[None, None, bool]:
        for _ in range(STEPS):
            clock.now_s += STEP_S
            yield
        return False

    removing = Removal(table, "c", judging=judging())
    return Remover(intake, lambda: WRITER).remove(inbox, [Record("t", 0, 0, b"c", b"?")], lambda _: removing)


def unknown_schema(inbox: Inbox) -> Coroutine[None, None, None]:
    learned = []

    async def learn(*asked: Any) -> bool:
        learned.append(asked)
        return True

    def read(event: Record) -> Record:
        if not learned:
            raise UnknownSchemaIdError(9)
        return event

    intake = Intake(Contract("", IDS), lambda: WRITER, learn)
    return intake.take(inbox, [Record("messages", 0, 0, b"m", b"?")], read, lambda *_: None)


@pytest.mark.parametrize(("what", "flushes"), [(removal, 2), (unknown_schema, 1)])
def test_others_have_their_turn_while_what_came_before_is_written_in_the_middle_of_a_batch(what, flushes):
    """Of a removal, or an event whose schema is unknown. No batch begins meanwhile."""

    async def check() -> None:
        watch = Watch()
        contents = Slow(watch)
        work = work_of(watch, contents, coalesce_ms=60_000)
        inbox = Inbox(asyncio.Queue())
        inbox._work = work
        await work.begin()
        another = asyncio.create_task(work.begin())
        assert await longest_wait_s(watch, what(inbox)) <= TURN_S + STEP_S
        assert (contents.flushed, another.done()) == (flushes, False)
        another.cancel()

    asyncio.run(check())


def test_no_batch_begins_in_the_middle_of_a_flush_and_no_flush_in_the_middle_of_a_batch():
    async def check() -> None:
        watch = Watch()
        contents = Slow(watch)
        work = work_of(watch, contents, coalesce_ms=1_000)
        await work.begin()
        await work.end([], complete=True, changed=True)
        assert contents.flushed == 0
        watch.now_s += 1.0
        flushing = asyncio.create_task(work.flush_if_due())
        await asyncio.sleep(0)
        assert contents.half_done
        await work.begin()
        assert (contents.flushed, contents.half_done, flushing.done()) == (1, False, True)
        watch.now_s += 1.0
        await work.flush_if_due()
        assert contents.flushed == 1
        closing = asyncio.create_task(work.close())
        await asyncio.sleep(0)
        assert not closing.done()
        await work.end([], complete=True, changed=True)
        await closing
        assert (contents.half_done, contents.flushed) == (False, 2)

    asyncio.run(check())


def test_others_have_their_turn_between_events_of_which_each_takes_long():
    async def check() -> None:
        watch = Watch()
        join = Join(program(prefix=""), WRITER, empty_stores([0]))
        join.work._clock, join.work._turn_began = watch, watch.now_s
        events = [Record("messages", 0, offset, b"m", b"?") for offset in range(STEPS)]
        refuse = join.app.intake.refuse

        def slowly(*arguments) -> None:
            watch.now_s += STEP_S
            refuse(*arguments)

        join.app.intake.refuse = slowly
        assert await longest_wait_s(watch, join.process(events)) <= TURN_S + STEP_S
        assert join.refused == STEPS

    asyncio.run(check())
