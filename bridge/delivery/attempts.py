"""Pauses between attempts, possibly for long."""

from collections.abc import AsyncIterator

from openbsp.backoff import Backoff

_FIRST_S = 0.25
_LONGEST_S = 10.0


async def attempts() -> AsyncIterator[None]:
    """Yield at once, then after pauses that grow up to 10 s, endlessly."""
    backoff = Backoff(_FIRST_S, _LONGEST_S)
    while True:
        yield
        await backoff.wait()
