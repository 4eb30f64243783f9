"""The index over the conversations of a partition: what lists filter and order by, and nothing else.

A page costs the number of conversations on it, whatever the number in the table.
"""

import heapq
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from sortedcontainers import SortedList

from openbsp.merge.registers import NEVER

#: `(active_at, conversation id)`: the order of lists, newest first. NEVER stands for no instant.
Position = tuple[int, str]


class Kind(NamedTuple):
    """The facets of a conversation with few distinct combinations: all but organization and contact."""

    status: str | None
    service: str | None
    awaiting_reply: bool = False
    unread: bool = False
    unanswered: bool = False
    failed: bool = False
    archived: bool = False
    #: Whether its row has arrived; otherwise it is known from messages only.
    known: bool = True


class Facets(NamedTuple):
    """What lists can filter a conversation by. None: no value."""

    organization: str | None
    kind: Kind
    contact_address: str | None = None


class Filter(NamedTuple):
    """Which conversations to list; None: any. `organizations` None means all, even those that are in none."""

    organizations: frozenset[str] | None = None
    status: str | None = None
    service: str | None = None
    awaiting_reply: bool | None = None
    unread: bool | None = None
    unanswered: bool | None = None
    failed: bool | None = None
    archived: bool | None = None
    contact_address: str | None = None
    active_since: int | None = None
    known: bool | None = None

    def matches(self, facets: Facets) -> bool:
        """Return whether conversations with these facets pass the filter, apart from the time of activity."""
        return (
            (self.organizations is None or facets.organization in self.organizations)
            and (self.contact_address is None or facets.contact_address == self.contact_address)
            and self.matches_kind(facets.kind)
        )

    def matches_kind(self, kind: Kind) -> bool:
        """Return whether conversations of this kind pass the filter."""
        wanted = (*self[1:8], self.known)
        return all(one is None or one == found for one, found in zip(wanted, kind, strict=True))

    def admits(self, facets: Facets, active_at: int) -> bool:
        """Return whether a conversation passes the filter."""
        return (self.active_since is None or active_at >= self.active_since) and self.matches(facets)


class _Entry(NamedTuple):
    position: Position
    organization: str | None
    kind: Kind
    contact_address: str | None


class _Group:
    """Positions by kind, each in order."""

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds: dict[Kind, SortedList] = {}

    def add(self, kind: Kind, position: Position) -> None:
        positions = self._kinds.get(kind)
        if positions is None:
            positions = self._kinds[kind] = SortedList()
        positions.add(position)

    def discard(self, kind: Kind, position: Position) -> None:
        positions = self._kinds[kind]
        positions.remove(position)
        if not positions:
            del self._kinds[kind]

    def count(self, wanted: Filter) -> int:
        return sum(len(positions) for kind, positions in self._kinds.items() if wanted.matches_kind(kind))

    def descend(self, wanted: Filter, below: Position | None) -> Iterator[Iterator[Position]]:
        least = None if wanted.active_since is None else (wanted.active_since, "")
        if least is not None and below is not None and below <= least:
            return
        for kind, positions in self._kinds.items():
            if wanted.matches_kind(kind):
                yield positions.irange(least, below, (True, False), reverse=True)

    def __bool__(self) -> bool:
        return bool(self._kinds)


class _Contacts:
    """The conversations with each contact: mostly one, so a set is made only for more."""

    __slots__ = ("_conversations",)

    def __init__(self) -> None:
        self._conversations: dict[str, str | set[str]] = {}

    def add(self, contact: str, conversation_id: str) -> None:
        found = self._conversations.setdefault(contact, conversation_id)
        if isinstance(found, set):
            found.add(conversation_id)
        elif found != conversation_id:
            self._conversations[contact] = {found, conversation_id}

    def discard(self, contact: str, conversation_id: str) -> None:
        found = self._conversations[contact]
        if isinstance(found, set) and len(found) > 1:
            found.remove(conversation_id)
        else:
            del self._conversations[contact]

    def of(self, contact: str) -> Iterable[str]:
        found = self._conversations.get(contact, set())
        return found if isinstance(found, set) else {found}

    def __bool__(self) -> bool:
        return bool(self._conversations)


class ConversationIndex:
    """Holds each conversation three times: for all organizations, for its own, and for its contact."""

    def __init__(self) -> None:
        """Start empty."""
        self._entries: dict[str, _Entry] = {}
        self._all = _Group()
        self._organizations: dict[str | None, _Group] = {}
        self._contacts = _Contacts()
        # Kinds and organizations repeat: equal ones share an object.
        self._known_kinds: dict[Kind, Kind] = {}
        self._known_organizations: dict[str | None, str | None] = {}

    def __len__(self) -> int:
        """Count the conversations."""
        return len(self._entries)

    @property
    def orphans(self) -> int:
        """The number of conversations known from messages only."""
        return self._all.count(Filter(known=False))

    def __contains__(self, conversation_id: str) -> bool:
        """Return whether the conversation is indexed."""
        return conversation_id in self._entries

    def get(self, conversation_id: str) -> tuple[Facets, int] | None:
        """Return a conversation's facets and its last activity (NEVER: unknown), None if it is not indexed."""
        entry = self._entries.get(conversation_id)
        return None if entry is None else (Facets(*entry[1:]), entry.position[0])

    def put(self, conversation_id: str, facets: Facets, active_at: int | None) -> None:
        """Add a conversation, or move it to its current place."""
        entry = _Entry((NEVER if active_at is None else active_at, conversation_id), *facets)
        old = self._entries.get(conversation_id)
        if old == entry:
            return
        if old is not None:
            self._take_out(old)
        position, organization, kind, contact = entry
        kind = self._known_kinds.setdefault(kind, kind)
        organization = self._known_organizations.setdefault(organization, organization)
        self._entries[conversation_id] = _Entry(position, organization, kind, contact)
        self._all.add(kind, position)
        group = self._organizations.get(organization)
        if group is None:
            group = self._organizations[organization] = _Group()
        group.add(kind, position)
        if contact is not None:
            self._contacts.add(contact, conversation_id)

    def remove(self, conversation_id: str) -> None:
        """Remove a conversation, if indexed."""
        old = self._entries.pop(conversation_id, None)
        if old is not None:
            self._take_out(old)

    def descend(self, wanted: Filter, below: Position | None = None) -> Iterator[Position]:
        """Yield the positions of matching conversations, newest first, from below a position on.

        The index must not change meanwhile.
        """
        if wanted.contact_address is not None:
            return iter(self._of_contact(wanted.contact_address, wanted, below))
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

    def _of_contact(self, contact: str, wanted: Filter, below: Position | None) -> list[Position]:
        entries = [self._entries[conversation_id] for conversation_id in self._contacts.of(contact)]
        found = [
            entry.position
            for entry in entries
            if (below is None or entry.position < below) and wanted.admits(Facets(*entry[1:]), entry.position[0])
        ]
        found.sort(reverse=True)
        return found

    def _take_out(self, entry: _Entry) -> None:
        self._all.discard(entry.kind, entry.position)
        group = self._organizations[entry.organization]
        group.discard(entry.kind, entry.position)
        if not group:
            del self._organizations[entry.organization]
        if entry.contact_address is not None:
            self._contacts.discard(entry.contact_address, entry.position[1])
