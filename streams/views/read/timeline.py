"""Timelines: the messages of long conversations in order, kept while they are requested.

A short conversation is read and sorted for each page. A long one would take longer than everything else, so its order
is kept up to date from its first page on, for the conversations requested last.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from operator import itemgetter

from sortedcontainers import SortedList

from streams.state import contribution as contributions
from streams.state.contribution import Contribution
from streams.tables.conversations import ConversationPartition
from streams.views.problems import not_ready
from streams.views.read.index import Position

#: Longest short conversation, in messages; those that are not shown in it are read as well.
SHORT = 256

#: Cached positions, of all long conversations of a partition together.
KEPT_POSITIONS = 500_000

_SLICE = 2_000

Item = tuple[str, Contribution]


class _Timeline:
    __slots__ = ("meanwhile", "owner", "positions", "ready")

    def __init__(self, owner: str | None) -> None:
        #: The conversation's organization.
        self.owner = owner
        self.positions = SortedList()
        self.ready = asyncio.Event()
        #: Changes while the positions are being read: message id and its new position.
        self.meanwhile: dict[str, Position | None] = {}


class Timelines:
    """The timelines of one partition."""

    def __init__(self, task: ConversationPartition) -> None:
        """Start with none cached."""
        self._task = task
        self._kept: OrderedDict[str, _Timeline] = OrderedDict()
        self._closed = False

    def close(self) -> None:
        """Stop reading: the partition is about to move to another worker."""
        self._closed = True

    async def page(self, conversation_id: str, below: Position | None, limit: int) -> list[Item]:
        """Return up to `limit` messages below a position, newest first, as of the moment of the return.

        Messages of other organizations than the conversation's are left out and take no place. Raises ProblemError if
        the partition is lost meanwhile.
        """
        if conversation_id not in self._kept:
            some = list(islice(self._task.contributions(conversation_id), SHORT + 1))
            if len(some) <= SHORT:
                return self._sorted(conversation_id, some, below)[:limit]
        timeline = await self._timeline(conversation_id)
        positions = timeline.positions.irange(None, below, (True, False), reverse=True)
        return list(self._items(conversation_id, islice(positions, limit)))

    def message_changed(
        self, conversation_id: str, message_id: str, old: Contribution | None, new: Contribution | None
    ) -> None:
        """Update the conversation's timeline, if there is one, from the table."""
        timeline = self._kept.get(conversation_id)
        if timeline is None:
            return
        before, after = (_position_in(conversation_id, message_id, which, timeline.owner) for which in (old, new))
        if not timeline.ready.is_set():
            timeline.meanwhile[message_id] = after
        elif before != after:
            if before is not None:
                timeline.positions.discard(before)
            if after is not None:
                timeline.positions.add(after)

    def removed(self, conversation_id: str) -> None:
        """Drop the conversation's timeline."""
        timeline = self._kept.pop(conversation_id, None)
        if timeline is not None:
            timeline.positions.clear()
            timeline.ready.set()

    def _sorted(self, conversation_id: str, items: list[Item], below: Position | None) -> list[Item]:
        """Return those that are shown in the conversation, below a position, newest first."""
        owner = self._task.owner(conversation_id)
        placed = [(_position_in(conversation_id, *item, owner), item) for item in items]
        shown = [(at, item) for at, item in placed if at is not None and (below is None or at < below)]
        shown.sort(key=itemgetter(0), reverse=True)
        return [item for _, item in shown]

    async def _timeline(self, conversation_id: str) -> _Timeline:
        while True:
            owner = self._task.owner(conversation_id)
            timeline = self._kept.get(conversation_id)
            if timeline is not None and timeline.owner != owner:
                self.removed(conversation_id)
                timeline = None
            if timeline is None:
                timeline = self._kept[conversation_id] = _Timeline(owner)
                try:
                    await self._gather(conversation_id, timeline)
                except BaseException:
                    self.removed(conversation_id)
                    raise
            await timeline.ready.wait()
            if self._kept.get(conversation_id) is timeline and self._task.owner(conversation_id) == timeline.owner:
                self._kept.move_to_end(conversation_id)
                self._trim()
                return timeline

    async def _gather(self, conversation_id: str, timeline: _Timeline) -> None:
        found: dict[str, Position] = {}
        items = self._task.contributions(conversation_id)
        while True:
            some = list(islice(items, _SLICE))
            for message_id, contribution in some:
                position = _position_in(conversation_id, message_id, contribution, timeline.owner)
                if position is not None:
                    found[message_id] = position
            if len(some) < _SLICE:
                break
            await asyncio.sleep(0)
            if self._closed:
                raise not_ready("the partition is being handed over", {self._task.partition})
        for message_id, position in timeline.meanwhile.items():
            found.pop(message_id, None)
            if position is not None:
                found[message_id] = position
        timeline.meanwhile.clear()
        timeline.positions.update(found.values())
        timeline.ready.set()

    def _trim(self) -> None:
        # Trap: one may have no position, if none of its messages is shown.
        while len(self._kept) > 1 and sum(SHORT + len(each.positions) for each in self._kept.values()) > KEPT_POSITIONS:
            for conversation_id, timeline in self._kept.items():
                if timeline.ready.is_set():
                    del self._kept[conversation_id]
                    break

    def _items(self, conversation_id: str, positions: Iterator[Position]) -> Iterator[Item]:
        for _, message_id in positions:
            contribution = self._task.contribution(conversation_id, message_id)
            if contribution is not None:
                yield message_id, contribution


def _position_in(
    conversation_id: str, message_id: str, contribution: Contribution | None, owner: str | None
) -> Position | None:
    if contribution is None or not contributions.belongs_to(contribution, conversation_id):
        return None
    if not contributions.is_of(contribution, owner):
        return None
    return contributions.sort_key(message_id, contribution)
