"""Blocking calls in threads: their results and exceptions come back, and nothing waits for them at the end."""

import asyncio
import threading
import time

import pytest

from openbsp import threads
from openbsp.threads import answer, in_thread, in_thread_within, to_its_end


def test_results_and_exceptions_come_back():
    async def scenario() -> None:
        assert await in_thread(max, 1, 2) == 2
        with pytest.raises(ZeroDivisionError):
            await in_thread(divmod, 1, 0)

    asyncio.run(scenario())


def test_a_call_that_never_returns_does_not_keep_the_loop_from_ending():
    held = threading.Event()

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await in_thread(held.wait)

    began = time.monotonic()
    asyncio.run(scenario())
    assert not held.is_set()
    assert time.monotonic() - began < 60
    held.set()


def test_who_is_cancelled_waits_for_a_call_that_must_not_be_left():
    began, go_on, ended = threading.Event(), threading.Event(), []

    def call() -> None:
        began.set()
        go_on.wait()
        ended.append(True)

    async def scenario() -> None:
        task = asyncio.create_task(to_its_end(call))
        await asyncio.to_thread(began.wait)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [True]

    asyncio.run(scenario())


def test_a_call_that_takes_too_long_is_given_up_with_a_sentence():
    held = threading.Event()

    async def scenario() -> None:
        assert await in_thread_within(60, max, 1, 2) == 2
        with pytest.raises(TimeoutError, match="no answer and no error within"):
            await in_thread_within(0.01, held.wait)

    asyncio.run(scenario())
    held.set()


def test_what_has_hung_often_is_not_called_again_until_some_of_it_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threads, "_MOST_LEFT", 2)
    held, calls = threading.Event(), []

    def hang() -> bool:
        calls.append(threading.current_thread())
        return held.wait()

    async def scenario() -> None:
        for _ in range(2):
            with pytest.raises(TimeoutError, match="no answer and no error within"):
                await in_thread_within(0.01, hang)
        for _ in range(2):
            with pytest.raises(TimeoutError, match="not asked while 2 former questions have no end"):
                await in_thread_within(0.01, hang)
        assert len(calls) == 2
        assert await in_thread_within(60, max, 1, 2) == 2, "others are not concerned"
        held.set()
        for thread in calls:
            thread.join()
        assert await in_thread_within(60, hang)

    asyncio.run(scenario())


def test_what_comes_after_the_end_of_the_loop_is_no_fault():
    loop = asyncio.new_event_loop()
    future: asyncio.Future[int] = loop.create_future()
    loop.close()
    answer(future, lambda: 1)
    assert not future.done()


def test_an_exception_is_seen_in_its_thread_first():
    async def scenario() -> None:
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        seen: list[BaseException] = []
        threading.Thread(target=answer, args=(future, lambda: 1 / 0, seen.append)).start()
        with pytest.raises(ZeroDivisionError) as raised:
            await future
        assert seen == [raised.value]

    asyncio.run(scenario())
