"""Exponential back-off with jitter."""

import asyncio
import random
from collections.abc import AsyncIterator


class Backoff:
    """Seconds to wait before the next attempt: twice as long each time, up to a limit, spread by half around it."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        """Start with `first_s`."""
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def next_s(self) -> float:
        """Return the seconds to wait now."""
        wait_s, self._next_s = self._next_s, min(self._next_s * 2, self._longest_s)
        return wait_s * random.uniform(0.5, 1.5)  # noqa: S311 not a secret

    async def wait(self) -> None:
        """Wait until the next attempt is due."""
        await asyncio.sleep(self.next_s())

    def reset(self) -> None:
        """Start over, after a successful attempt."""
        self._next_s = self._first_s


async def attempts() -> AsyncIterator[None]:
    """Yield at once, then after each of the growing pauses of a `Backoff`, 10 s at most, endlessly."""
    backoff = Backoff(0.25, 10.0)
    while True:
        yield
        await backoff.wait()
