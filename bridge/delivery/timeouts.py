"""Time limits of many members, with one timer for all."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Timeouts(Generic[T]):
    """Calls `on_expired` with each member that is still here `seconds` after it was added.

    All members have the same limit, so the first one in expires first: a timer for it is enough.
    """

    def __init__(self, seconds: float, on_expired: Callable[[T], None]) -> None:
        """Start empty. Call all methods from the event loop."""
        self._seconds = seconds
        self._on_expired = on_expired
        self._loop = asyncio.get_running_loop()
        # Trap: deleting from the front of a dict makes finding its first key ever slower; an OrderedDict is a list.
        self._members: OrderedDict[T, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Count the members."""
        return len(self._members)

    def add(self, member: T, now: float) -> None:
        """Start the time of a member; `now` is time.monotonic()."""
        self._members[member] = now + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._sweep)

    def discard(self, member: T) -> None:
        """Stop the time of a member, if it is one."""
        self._members.pop(member, None)

    def _sweep(self) -> None:
        self._timer = None
        # uvloop's timers count in milliseconds and may fire that much early.
        now = time.monotonic() + 0.002
        while self._members:
            member, expiry = next(iter(self._members.items()))
            if expiry > now:
                self._timer = self._loop.call_later(expiry - now + 0.002, self._sweep)
                return
            del self._members[member]
            self._on_expired(member)
