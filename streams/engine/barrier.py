"""Read barriers: waiting until a log's content at one moment is in the tables."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from itertools import count

from openbsp.log import event
from streams.engine.assignment import Assignment
from streams.engine.end_offsets import Ends
from streams.engine.membership import Membership
from streams.engine.writer import Writer

logger = logging.getLogger(__name__)

_ASK_TIMEOUT_S = 10.0
_ASK_AGAIN_S = 1.0
#: Questions after which it is told who keeps it waiting, some minutes; and after how many more again.
_TOLD_AFTER = 300
_TOLD_EVERY = 600
_WAIT_S = 0.2
_OUTSTANDING = 10_000


class Barrier:
    """Waits within one assignment; everything returns False once that is over."""

    def __init__(  # noqa: PLR0917 what it asks
        self,
        work: Assignment,
        current: Callable[[], Assignment | None],
        membership: Membership,
        ends: Ends,
        writer: Writer,
        partition_count: int,
    ) -> None:
        """Connect to nothing yet."""
        self._work = work
        self._current = current
        self._membership = membership
        self._ends = ends
        self._writer = writer
        self._partitions = range(partition_count)

    async def everywhere(self, *sources: str) -> bool:
        """Wait until the tables of all workers have what these sources hold now.

        Raises KafkaException, MembershipError.
        """
        partitions = [(source, number) for source in sources for number in self._partitions]
        ends = await self._ends.of(partitions, _ASK_TIMEOUT_S)
        for asked in count(1):
            if not self._going():
                break
            committed = await self._membership.committed(partitions)
            # Other workers' progress is in their commits.
            behind = [at for at, end in ends.items() if at not in committed or committed[at].offset < end]
            if not behind:
                return True
            if asked >= _TOLD_AFTER and (asked - _TOLD_AFTER) % _TOLD_EVERY == 0:
                # Trap: offsets without an event (of a transaction) at the end of a partition are never committed.
                logger.warning(
                    "has waited for %d s or more until the group has committed all that was in %s. See that workers "
                    "run and read these partitions; where one lacks nothing, another program's transaction is at its "
                    "end, and the next event in it ends the wait",
                    asked * _ASK_AGAIN_S,
                    ", ".join("{}[{}]".format(*at) for at in behind),
                    extra=event("barrier.waiting"),
                )
            await asyncio.sleep(_ASK_AGAIN_S)
        return False

    async def here(self, *sources: str) -> bool:
        """Wait until the tables of this worker have what its partitions of these sources hold now.

        Raises KafkaException.
        """
        own: Iterable[tuple[str, int]] = [(source, number) for source in sources for number in self._work.partitions]
        ends = await self._ends.of(own, _ASK_TIMEOUT_S)
        return await self._reached(lambda: all(self._work.position(*at) >= end for at, end in ends.items()))

    async def room(self) -> bool:
        """Wait until the producer has room for more records."""
        return await self._reached(lambda: self._writer.outstanding < _OUTSTANDING and not self._work.settling)

    async def _reached(self, condition: Callable[[], bool]) -> bool:
        while self._going():
            if condition():
                return True
            await asyncio.sleep(_WAIT_S)
        return False

    def _going(self) -> bool:
        return self._current() is self._work
