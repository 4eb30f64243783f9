"""Membership: who owns which partitions, and the right to commit for them.

The engine asks this of whatever joins the group for it. That one calls `Engine.on_owned` when partitions are owned,
`Engine.on_lost` before they may be owned by others, and `Engine.fail` for what only the end of the process can answer.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

#: By topic and partition.
Positions = Mapping[tuple[str, int], int]
Notes = Mapping[tuple[str, int], str]


class Committed(NamedTuple):
    """Where a partition was left, and the note that was left with it."""

    offset: int
    note: str


class Membership(Protocol):
    """A member of the group."""

    async def commit_positions(self, positions: Positions, notes: Notes, within_s: float) -> str | None:
        """Commit positions, each with its note if it has one, as this member. Returns None when done, else why not.

        A member that the group has replaced is refused. What was not done in time may still be done later.
        """

    async def committed(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Committed]:
        """Return where partitions were left, only of those that ever were. Raises MembershipError."""

    async def check(self) -> None:
        """Raise MembershipError for what the member has given up without saying so."""

    def owners(self, topic: str) -> dict[int, str]:
        """Return the address of the worker that owns each partition of a source, as of the last rebalance."""
