"""Membership: which worker owns which partitions, and the right to commit for them.

The engine's interface to its group member, which calls `Engine.on_owned` when partitions are owned, `Engine.on_lost`
before others may own them, and `Engine.fail` for errors that only the end of the process can solve.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

#: By topic and partition.
Positions = Mapping[tuple[str, int], int]
Notes = Mapping[tuple[str, int], str]


class Committed(NamedTuple):
    """A partition's committed position, and its note."""

    offset: int
    note: str


class Membership(Protocol):
    """A member of the group."""

    async def commit_positions(self, positions: Positions, notes: Notes, within_s: float) -> str | None:
        """Commit positions, each with its note if it has one, as this member. Returns None when done, else why not.

        A member that the group has replaced is refused. A commit that timed out may still succeed later. A commit of
        nothing proves nothing: see `ask_coordinator`.
        """

    async def ask_coordinator(self, within_s: float) -> str | None:
        """Return None when the coordinator has answered a question, else why it has not."""

    async def committed(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Committed]:
        """Return the committed positions, only of partitions that have one. Raises MembershipError."""

    async def check(self) -> None:
        """Raise MembershipError for errors that the member has not reported."""

    def owners(self, topic: str) -> dict[int, str]:
        """Return the address of the worker that owns each partition of a source, as of the last rebalance."""
