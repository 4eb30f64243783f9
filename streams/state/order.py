"""The messages of one conversation in order, from which its aggregates follow whatever changes.

It costs memory for each message, so a tally has one only where it has been counted again before.
"""

from sortedcontainers import SortedList

from openbsp.merge.registers import NEVER
from streams.state.contribution import Role

Position = tuple[int, str]

#: Comes after whatever has no time, and before all others.
_DATED: Position = (NEVER + 1, "")


class Order:
    """Positions of the messages that a tally counts: those that may be the last one, and those that are spoken."""

    __slots__ = ("active_at", "incoming", "outgoing", "shown")

    def __init__(self) -> None:
        """Start with no message."""
        self.shown: SortedList[Position] = SortedList()
        self.incoming: SortedList[Position] = SortedList()
        self.outgoing: SortedList[Position] = SortedList()
        self.active_at: SortedList[int] = SortedList()

    def __len__(self) -> int:
        """Return for how many messages it costs memory, or more."""
        return len(self.shown) + len(self.incoming) + len(self.outgoing)

    def add(self, role: Role) -> None:
        """Put a message in."""
        for positions, value in self._places(role):
            positions.add(value)

    def remove(self, role: Role) -> None:
        """Take a message out, which has this role."""
        for positions, value in self._places(role):
            positions.remove(value)

    def _places(self, role: Role) -> "list[tuple[SortedList[object], object]]":
        places: list[tuple[SortedList[object], object]] = []
        if role.shown:
            places.append((self.shown, role.position))
        if role.said:
            places.append((self.incoming if role.direction == "incoming" else self.outgoing, role.position))
            if role.active_at is not None:
                places.append((self.active_at, role.active_at))
        return places

    def unanswered(self) -> tuple[int, Position | None]:
        """Return how many incoming messages come after the last outgoing one, and the first of them."""
        incoming = self.incoming
        first = incoming.bisect_right(self.outgoing[-1]) if self.outgoing else 0
        return len(incoming) - first, _at(incoming, first)

    def first_incoming(self) -> Position | None:
        """Return the first incoming message that has a time."""
        return _at(self.incoming, self.incoming.bisect_left(_DATED))

    def first_outgoing(self) -> Position | None:
        """Return the first outgoing message that has a time."""
        return _at(self.outgoing, self.outgoing.bisect_left(_DATED))

    def reply(self, first: Position | None) -> Position | None:
        """Return the first outgoing message at or after the time of the first incoming one."""
        return None if first is None else _at(self.outgoing, self.outgoing.bisect_left((first[0], "")))


def _at(positions: "SortedList[Position]", index: int) -> Position | None:
    return positions[index] if index < len(positions) else None
