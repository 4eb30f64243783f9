"""Limits the bytes of events in one process: bodies, the producer's queue and the spool's together."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

#: What an event needs besides its body: its row, its canonical JSON and intermediate results.
_COPIES = 4
_OVERHEAD = 4096
#: Memory in use that is negligible beside a request of this many times as much.
_LITTLE = 32


def cost(body_size: int) -> int:
    """Return the bytes that an event needs until its request is answered; measured, and rounded up."""
    return _COPIES * body_size + _OVERHEAD


class Waiter:
    """A request that waits for memory. `on_end` is called with whether there is some now, or none in time."""

    __slots__ = ("bytes", "deadline", "on_end")

    def __init__(self, size: int, deadline: float, on_end: Callable[[bool], None]) -> None:
        self.bytes = size
        self.deadline = deadline
        #: None once it was called or the request was dropped.
        self.on_end: Callable[[bool], None] | None = on_end


class Memory:
    """Counts bytes against a limit; a request that exceeds it waits in turn, up to a deadline.

    `held` is what is in use. A request above the limit gets its bytes when next to nothing else is in use. Bytes that
    are in memory already, such as those a client sent before it could be paused, are only counted (`add`).
    """

    def __init__(self, limit: int) -> None:
        """Start with nothing in use. Call all methods from the event loop."""
        self.limit = limit
        self.held = 0
        #: Called when the next request would have to wait.
        self.on_crowded: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Waiter] = deque()
        self._admitting = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def crowded(self) -> bool:
        """Whether the next request would have to wait."""
        return self.held >= self.limit or bool(self._waiting)

    @property
    def waiting(self) -> int:
        """Count waiting requests."""
        return len(self._waiting)

    def take(self, size: int) -> bool:
        """Take so many bytes if they are available and no request waits."""
        if self._waiting or not self._fits(size):
            return False
        self.held += size
        return True

    def add(self, size: int) -> None:
        """Count bytes that are in use already."""
        before, self.held = self.held, self.held + size
        if before < self.limit <= self.held:
            self.on_crowded()

    def wait(self, waiter: Waiter) -> None:
        """Take the bytes of `waiter` in its turn; its deadline must not be before those of others."""
        self._waiting.append(waiter)
        if len(self._waiting) == 1:
            self.on_crowded()
            self._admit_soon()
        if self._timer is None:
            self._timer = self._loop.call_later(max(0.0, waiter.deadline - time.monotonic()), self._expire)

    def give(self, size: int) -> None:
        """Release bytes."""
        self.held -= size
        if self._waiting:
            self._admit_soon()

    def _fits(self, size: int) -> bool:
        # Trap: the bytes already received of a waiting request are in use as well, at most a few reads of it.
        return self.held + size <= self.limit or self.held <= size // _LITTLE

    def _admit_soon(self) -> None:
        # Not at once: a refused request releases its bytes at once, and the calls would nest.
        if not self._admitting:
            self._admitting = True
            self._loop.call_soon(self._admit)

    def _admit(self) -> None:
        self._admitting = False
        while self._waiting and (self._waiting[0].on_end is None or self._fits(self._waiting[0].bytes)):
            waiter = self._waiting.popleft()
            on_end, waiter.on_end = waiter.on_end, None
            if on_end is not None:
                self.held += waiter.bytes
                on_end(True)  # noqa: FBT003 as declared

    def _expire(self) -> None:
        self._timer = None
        now = time.monotonic() + 0.002
        while self._waiting and (self._waiting[0].on_end is None or self._waiting[0].deadline <= now):
            waiter = self._waiting.popleft()
            on_end, waiter.on_end = waiter.on_end, None
            if on_end is not None:
                on_end(False)  # noqa: FBT003 as declared
        if self._waiting:
            self._timer = self._loop.call_later(self._waiting[0].deadline - now + 0.002, self._expire)
            self._admit_soon()
