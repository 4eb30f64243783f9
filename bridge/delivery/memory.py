"""How many bytes of events one process holds at a time: bodies, the producer's queue and the spool's together."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

#: What an event needs besides its body: the body itself, its row, its canonical JSON and what is made of it on the way.
_COPIES = 4
_OVERHEAD = 4096
#: What is in use beside a request that needs so many times as much is as good as nothing.
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
    """Counts bytes against a limit; a request that finds none left waits in turn, up to a deadline.

    `held` is what is in use. One that needs more than the limit gets it when next to nothing else is in use. What is
    there already, such as what a client had sent before it could be held back, is only counted (`add`).
    """

    def __init__(self, limit: int) -> None:
        """Start with nothing in use. Call from the event loop, here and everywhere."""
        self.limit = limit
        self.held = 0
        #: Called when what comes next would have to wait.
        self.on_crowded: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Waiter] = deque()
        self._admitting = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def crowded(self) -> bool:
        """Whether whoever comes now would have to wait."""
        return self.held >= self.limit or bool(self._waiting)

    @property
    def waiting(self) -> int:
        """Count those who wait."""
        return len(self._waiting)

    def take(self, size: int) -> bool:
        """Take so many bytes if they are there and no request waits for some."""
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
        """Take the bytes of `waiter` when it is its turn; its deadline must not be before those of others."""
        self._waiting.append(waiter)
        if len(self._waiting) == 1:
            self.on_crowded()
            self._admit_soon()
        if self._timer is None:
            self._timer = self._loop.call_later(max(0.0, waiter.deadline - time.monotonic()), self._expire)

    def give(self, size: int) -> None:
        """Give bytes back."""
        self.held -= size
        if self._waiting:
            self._admit_soon()

    def _fits(self, size: int) -> bool:
        # Trap: what has come already of the very request that waits is in use as well, at most a few reads of it.
        return self.held + size <= self.limit or self.held <= size // _LITTLE

    def _admit_soon(self) -> None:
        # Not at once: one that is refused at once gives its bytes back at once, and so on.
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
