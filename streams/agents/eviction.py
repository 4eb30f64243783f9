"""Evicts idle conversations: a periodic search sends requests to their partitions' owner, which is this worker.

Only the tables show that a conversation is idle, and only if they have everything in the sources; the messages of a
conversation are in other partitions than it, perhaps of other workers, perhaps lagging. So a search takes the current
end of all sources, waits until the tables of all workers have everything up to it, and judges as of that moment.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from avro import instants
from openbsp.log import event
from streams.engine.errors import UNAVAILABLE, MembershipError
from streams.engine.table import Sender
from streams.tables.conversations import ConversationPartition
from streams.tables.idle import encode_eviction, idle_conversations

logger = logging.getLogger(__name__)

_LONGEST_INTERVAL_S = 3600.0
#: Between slices: a search is not urgent.
_PAUSE_S = 0.002


class Merged(Protocol):
    """Waits until sources are merged (`streams.engine.barrier.Barrier`)."""

    async def everywhere(self, *sources: str) -> bool:
        """Wait until the tables of all workers have what the sources hold now; False once the partitions are lost."""

    async def here(self, *sources: str) -> bool:
        """Wait until the tables of this worker have what its partitions hold now; False once they are lost."""

    async def room(self) -> bool:
        """Wait until the producer has room for more records; False once the partitions are lost."""


def interval_of(idle_after_s: float) -> float:
    """Return the seconds between two searches."""
    return min(_LONGEST_INTERVAL_S, idle_after_s / 10)


class Eviction:
    """Searches this worker's tables, on the timer `evict_idle`."""

    def __init__(
        self,
        idle_after_s: float,
        topics: Mapping[str, str],
        *,
        conversations: Callable[[], Mapping[int, ConversationPartition]],
        sender: Callable[[], Sender],
        merged: Callable[[], Merged],
        now: Callable[[], int] = instants.now,
    ) -> None:
        """Request the eviction of conversations without activity for `idle_after_s` seconds before `now`.

        `topics` are those of the catalogue's names; the others give this worker's current partitions and means.
        """
        self._idle_after_s = idle_after_s
        self._topics = topics
        self._conversations = conversations
        self._sender = sender
        self._merged = merged
        self._now = now

    async def search(self) -> None:
        """Search all tables that this worker owns, once. A failure is retried by the next search."""
        owned = self._conversations()
        if not owned:
            return
        try:
            await self._look(owned, self._merged())
        except (*UNAVAILABLE, MembershipError, TimeoutError) as error:
            logger.warning("idle conversations not searched, retrying: %s", error, extra=event("idle.not_searched"))

    async def _look(self, owned: Mapping[int, ConversationPartition], merged: Merged) -> None:
        topics = self._topics
        before = self._now() - int(self._idle_after_s * 1_000_000)
        contributions = topics["streams-contributions"]
        if not await merged.everywhere(topics["messages"], topics["conversations"]):
            return
        if not await merged.here(contributions):
            return
        count = 0
        request = encode_eviction(before)
        for partition, table in owned.items():
            for conversation_id in idle_conversations(table.rows, before):
                if conversation_id is None:
                    await asyncio.sleep(_PAUSE_S)
                else:
                    self._sender().write(contributions, conversation_id.encode(), request, partition)
                    count += 1
                if not await merged.room():
                    return
        if count:
            since = instants.render(before)
            removed = event("idle.removed", conversations=count, since=since)
            logger.info(
                "asked to remove %d conversations that are idle since %s; one that has news by then stays",
                count,
                since,
                extra=removed,
            )
