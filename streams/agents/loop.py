"""What all agents of the join do: take batches, merge each event, process removals."""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

from streams.agents.intake import SLICE, Before, Intake, Merge, Read, Then
from streams.agents.removal import Remover, Removing
from streams.engine.source import Record
from streams.engine.stream import Inbox


class Stream(Protocol):
    """What an agent iterates over (`streams.engine.app.BatchStream`)."""

    @property
    def inbox(self) -> Inbox:
        """Requests in the middle of a batch."""

    def take_events(self, max_: int, within: float = 0.0) -> AsyncIterator[Sequence[Record]]:
        """Yield the records read, in slices."""


Agent = Callable[[Any], Coroutine[Any, Any, None]]


def is_tombstone(event: Record) -> bool:
    """Return whether an event removes its row."""
    return event.value is None


def _never(event: Record) -> bool:
    del event
    return False


@dataclass(frozen=True, slots=True)
class Removals:
    """What an agent removes, in two halves: `asked` returns whether an event requests what `removing` removes."""

    remover: Remover
    removing: Removing
    asked: Callable[[Record], bool] = is_tombstone


@dataclass(frozen=True, slots=True)
class Loop:
    """An agent's processing. Consecutive events of one kind are processed together.

    Events that request one of the `removals` are removed; all others are merged, after what `before` reads, and `then`
    writes what they cause.
    """

    intake: Intake
    read: Read
    merge: Merge
    removals: Removals | None = None
    before: Before | None = None
    then: Then | None = None

    async def run(self, stream: Stream) -> None:
        """Process all events of a stream; those not begun when partitions are revoked are left."""
        inbox, removals = stream.inbox, self.removals
        asked = _never if removals is None else removals.asked
        async for events in stream.take_events(SLICE):
            for is_asked, run in groupby(events, asked):
                if is_asked and removals is not None:
                    await removals.remover.remove(inbox, list(run), removals.removing)
                else:
                    await self.intake.take(inbox, list(run), self.read, self.merge, before=self.before, then=self.then)
                if inbox.ending.is_set():
                    break
