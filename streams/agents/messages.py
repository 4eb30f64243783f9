"""messages -> message table: what is told of a message is merged, and its conversations hear what it adds."""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from itertools import groupby
from typing import Any, Protocol

from streams.agents.intake import SLICE, Intake
from streams.agents.removal import Removal, Remover
from streams.engine.source import Record
from streams.engine.stream import Inbox
from streams.tables.messages import MessagePartition


class Stream(Protocol):
    """What an agent iterates over (`streams.engine.app.Stream`)."""

    @property
    def inbox(self) -> Inbox:
        """What may be asked for in the middle of a batch."""

    def take_events(self, max_: int, within: float = 0.0) -> AsyncIterator[Sequence[Record]]:
        """Yield what was read, in slices."""


#: A partition of a table, by the event that belongs to it.
MessagesOf = Callable[[Record], MessagePartition]
Agent = Callable[[Any], Coroutine[Any, Any, None]]


def merge_messages(messages: MessagesOf, intake: Intake, remover: Remover) -> Agent:
    """Return the agent."""

    def merge(event: Record) -> None:
        fields, size = intake.row(event)
        table = messages(event)
        table.apply(fields, size, replayed=table.rows.seen(event))

    def removing(event: Record) -> Removal:
        return Removal(messages(event), intake.text(event.key))

    async def agent(stream: Stream) -> None:
        """Merge what is told of each message, write its state, tell its conversations what it adds."""
        inbox = stream.inbox
        async for events in stream.take_events(SLICE):
            for removed, run in groupby(events, is_tombstone):
                if removed:
                    await remover.remove(inbox, list(run), removing)
                else:
                    await intake.take(inbox, list(run), merge)
                if inbox.ending.is_set():
                    break

    return agent


def is_tombstone(event: Record) -> bool:
    """Return whether an event removes its row."""
    return event.value is None
