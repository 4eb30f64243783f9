"""What all agents of the join do: take batches, merge each event, remove what is asked to leave."""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

from streams.agents.intake import SLICE, Before, Intake, Merge, Read, Then
from streams.agents.removal import Remover, Removing
from streams.engine.source import Record
from streams.engine.stream import Inbox


class Stream(Protocol):
    """What an agent iterates over (`streams.engine.app.Stream`)."""

    @property
    def inbox(self) -> Inbox:
        """What may be asked for in the middle of a batch."""

    def take_events(self, max_: int, within: float = 0.0) -> AsyncIterator[Sequence[Record]]:
        """Yield what was read, in slices."""


Agent = Callable[[Any], Coroutine[Any, Any, None]]


def is_tombstone(event: Record) -> bool:
    """Return whether an event removes its row."""
    return event.value is None


def _never(event: Record) -> bool:
    del event
    return False


@dataclass(frozen=True, slots=True)
class Removals:
    """What an agent removes, in two halves: `asked` tells which events ask for what `removing` returns."""

    remover: Remover
    removing: Removing
    asked: Callable[[Record], bool] = is_tombstone


@dataclass(frozen=True, slots=True)
class Loop:
    """One agent's way with its events. What comes in a row of one kind is dealt with together.

    What asks for one of the `removals` is removed; all others are merged, after what `before` reads, and `then` what
    follows from them.
    """

    intake: Intake
    read: Read
    merge: Merge
    removals: Removals | None = None
    before: Before | None = None
    then: Then | None = None

    async def run(self, stream: Stream) -> None:
        """Deal with all events of a stream; what is not begun when partitions are taken away is left."""
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
