"""The index over the conversations of a partition: what lists filter and order by, and nothing else.

A page costs the number of conversations on it, whatever the number in the table.
"""

import heapq
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from sortedcontainers import SortedList

from streams.state.registers import NEVER

#: `(active_at, conversation id)`: the order of lists, newest first. NEVER stands for no instant.
Position = tuple[int, str]


class Facets(NamedTuple):
    """What a conversation can be found by. None: it says none."""

    organization: str | None
    status: str | None
    service: str | None
    awaiting_reply: bool


class Filter(NamedTuple):
    """Which conversations are wanted; None: any. `organizations` None means all, even those that are in none."""

    organizations: frozenset[str] | None = None
    status: str | None = None
    service: str | None = None
    awaiting_reply: bool | None = None
    active_since: int | None = None

    def matches(self, facets: Facets) -> bool:
        """Return whether conversations with these facets are wanted, if they were active lately enough."""
        return (self.organizations is None or facets.organization in self.organizations) and self.matches_kind(
            facets[1:]
        )

    def matches_kind(self, kind: tuple[str | None, str | None, bool]) -> bool:
        """Return whether status, service and awaiting_reply are wanted."""
        status, service, awaiting_reply = kind
        return (
            (self.status is None or status == self.status)
            and (self.service is None or service == self.service)
            and (self.awaiting_reply is None or awaiting_reply == self.awaiting_reply)
        )

    def admits(self, facets: Facets, active_at: int) -> bool:
        """Return whether a conversation is wanted."""
        return (self.active_since is None or active_at >= self.active_since) and self.matches(facets)


class _Group:
    """Positions by status, service and awaiting_reply: few combinations, each in order."""

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds: dict[tuple[str | None, str | None, bool], SortedList] = {}

    def add(self, facets: Facets, position: Position) -> None:
        positions = self._kinds.get(facets[1:])
        if positions is None:
            positions = self._kinds[facets[1:]] = SortedList()
        positions.add(position)

    def discard(self, facets: Facets, position: Position) -> None:
        positions = self._kinds[facets[1:]]
        positions.remove(position)
        if not positions:
            del self._kinds[facets[1:]]

    def descend(self, wanted: Filter, below: Position | None) -> Iterator[Iterator[Position]]:
        least = None if wanted.active_since is None else (wanted.active_since, "")
        if least is not None and below is not None and below <= least:
            return
        for kind, positions in self._kinds.items():
            if wanted.matches_kind(kind):
                yield positions.irange(least, below, (True, False), reverse=True)

    def __bool__(self) -> bool:
        return bool(self._kinds)


class ConversationIndex:
    """Keeps each conversation once for all organizations and once for its own."""

    def __init__(self) -> None:
        """Start empty."""
        self._entries: dict[str, tuple[Position, Facets]] = {}
        self._all = _Group()
        self._organizations: dict[str | None, _Group] = {}
        # Facets repeat: one object for all conversations that have them.
        self._known_facets: dict[Facets, Facets] = {}

    def __len__(self) -> int:
        """Count the conversations."""
        return len(self._entries)

    def __contains__(self, conversation_id: str) -> bool:
        """Return whether the conversation is here."""
        return conversation_id in self._entries

    def get(self, conversation_id: str) -> tuple[Facets, int] | None:
        """Return what a conversation is found by and when it was active (NEVER: unknown), None if it is not here."""
        entry = self._entries.get(conversation_id)
        return None if entry is None else (entry[1], entry[0][0])

    def put(self, conversation_id: str, facets: Facets, active_at: int | None) -> None:
        """Add a conversation, or move it to where it belongs now."""
        position = (NEVER if active_at is None else active_at, conversation_id)
        old = self._entries.get(conversation_id)
        if old == (position, facets):
            return
        if old is not None:
            self._take_out(*old)
        facets = self._known_facets.setdefault(facets, facets)
        self._entries[conversation_id] = (position, facets)
        self._all.add(facets, position)
        group = self._organizations.get(facets.organization)
        if group is None:
            group = self._organizations[facets.organization] = _Group()
        group.add(facets, position)

    def remove(self, conversation_id: str) -> None:
        """Forget a conversation if it is here."""
        old = self._entries.pop(conversation_id, None)
        if old is not None:
            self._take_out(*old)

    def descend(self, wanted: Filter, below: Position | None = None) -> Iterator[Position]:
        """Yield the positions of the wanted conversations, newest first, from below a position on.

        The index must not change meanwhile.
        """
        groups: Iterable[_Group] = (self._all,)
        if wanted.organizations is not None:
            groups = [self._organizations[name] for name in wanted.organizations if name in self._organizations]
        runs = [run for group in groups for run in group.descend(wanted, below)]
        if len(runs) == 1:
            return runs[0]
        return heapq.merge(*runs, reverse=True)

    def page(self, wanted: Filter, below: Position | None, limit: int) -> list[Position]:
        """Return up to `limit` positions, newest first."""
        return list(islice(self.descend(wanted, below), limit))

    def _take_out(self, position: Position, facets: Facets) -> None:
        self._all.discard(facets, position)
        group = self._organizations[facets.organization]
        group.discard(facets, position)
        if not group:
            del self._organizations[facets.organization]
