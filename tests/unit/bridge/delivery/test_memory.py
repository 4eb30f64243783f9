"""Memory for events in progress: who finds none waits in turn, and not for longer than a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from bridge.delivery.memory import Memory, Waiter


def check(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def in_a_while() -> float:
    return time.monotonic() + 60


def test_who_finds_none_left_waits_in_turn():
    async def scenario() -> None:
        memory, order = Memory(100), []
        assert memory.take(60)
        for name, size in (("large", 80), ("small", 10)):
            assert not memory.take(size), "also one that would fit, behind one that does not"
            memory.wait(Waiter(size, in_a_while(), lambda admitted, name=name: order.append((name, admitted))))
        await turns()
        assert order == []
        assert (memory.held, memory.waiting, memory.crowded) == (60, 2, True)
        memory.give(60)
        await turns()
        assert order == [("large", True), ("small", True)]
        assert (memory.held, memory.waiting, memory.crowded) == (90, 0, False)

    check(scenario)


def test_what_is_larger_than_all_of_it_comes_alone():
    async def scenario() -> None:
        memory, admitted = Memory(100), []
        assert memory.take(50)
        assert not memory.take(1000)
        memory.wait(Waiter(1000, in_a_while(), admitted.append))
        memory.give(50)
        await turns()
        assert admitted == [True]
        assert not memory.take(1)
        memory.give(1000)
        assert memory.take(1)

    check(scenario)


def test_who_waits_too_long_is_told_and_the_next_ones_turn_comes():
    async def scenario() -> None:
        memory, outcomes = Memory(100), []
        ended = asyncio.Event()
        assert memory.take(60)
        memory.wait(Waiter(80, time.monotonic() + 0.01, lambda admitted: outcomes.append(("large", admitted))))
        memory.wait(Waiter(10, in_a_while(), lambda admitted: (outcomes.append(("small", admitted)), ended.set())))
        await asyncio.wait_for(ended.wait(), 10)
        assert outcomes == [("large", False), ("small", True)]
        assert memory.held == 70

    check(scenario)


def test_who_waits_no_more_takes_nothing():
    async def scenario() -> None:
        memory, outcomes = Memory(100), []
        assert memory.take(100)
        gone = Waiter(50, in_a_while(), outcomes.append)
        memory.wait(gone)
        gone.on_end = None
        memory.give(100)
        await turns()
        assert (outcomes, memory.held, memory.waiting) == ([], 0, 0)

    check(scenario)


def test_thousands_that_give_back_at_once_are_no_deep_recursion():
    async def scenario() -> None:
        memory, count = Memory(10), 0

        def refused_at_once(_: object) -> None:
            nonlocal count
            count += 1
            memory.give(10)

        assert memory.take(10)
        for _ in range(5000):
            memory.wait(Waiter(10, in_a_while(), refused_at_once))
        memory.give(10)
        await turns()
        assert (count, memory.held) == (5000, 0)

    check(scenario)


def test_it_is_told_when_what_comes_next_has_to_wait():
    async def scenario() -> None:
        memory, told = Memory(100), []
        memory.on_crowded = lambda: told.append(memory.held)
        memory.add(99)
        memory.add(1)
        memory.add(1)
        assert told == [100]
        memory.give(101)
        assert memory.take(100)
        memory.wait(Waiter(1, in_a_while(), lambda _: None))
        assert told == [100, 100]

    check(scenario)
