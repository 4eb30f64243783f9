"""conversations -> conversation table: what is told of a conversation's row is merged."""

from collections.abc import Callable, Iterator
from itertools import groupby

from streams.agents.intake import SLICE, Intake
from streams.agents.messages import Agent, Stream, is_tombstone
from streams.agents.removal import Removal, Remover
from streams.engine.source import Record
from streams.tables.conversations import ConversationPartition

#: A partition of a table, by the event that belongs to it.
ConversationsOf = Callable[[Record], ConversationPartition]


def merge_rows(conversations: ConversationsOf, intake: Intake, remover: Remover) -> Agent:
    """Return the agent."""

    def merge(event: Record) -> None:
        fields, size = intake.row(event)
        table = conversations(event)
        table.apply_row(fields, size, replayed=table.rows.seen(event))

    def removing(event: Record) -> Removal:
        return Removal(conversations(event), intake.text(event.key))

    def tell_messages(event: Record) -> Iterator[None]:
        return conversations(event).tell_messages(intake.text(event.key))

    async def agent(stream: Stream) -> None:
        """Merge what is told of each conversation's row, write its state."""
        inbox = stream.inbox
        async for events in stream.take_events(SLICE):
            for removed, run in groupby(events, is_tombstone):
                if removed:
                    await remover.remove(inbox, list(run), removing)
                else:
                    await intake.take(inbox, list(run), merge, tell_messages)
                if inbox.ending.is_set():
                    break

    return agent
