"""conversations -> conversation table: rows are merged."""

from collections.abc import Callable, Iterable, Iterator

from streams.agents.intake import Intake, RowEvent
from streams.agents.loop import Agent, Loop, Removals, Stream
from streams.agents.removal import Removal, Remover
from streams.engine.source import Record
from streams.tables.conversations import ConversationPartition

#: A partition of a table, for the given event.
ConversationsOf = Callable[[Record], ConversationPartition]


def merge_conversations(conversations: ConversationsOf, intake: Intake, remover: Remover) -> Agent:
    """Return the agent."""

    def merge(event: Record, told: RowEvent) -> None:
        table = conversations(event)
        table.apply_row(told.fields, told.size, replayed=table.rows.seen(event), organizations=told.organizations)

    def before(event: Record, told: RowEvent) -> Iterable[None]:
        del told
        return conversations(event).bringing_into_use(intake.text(event.key))

    def removing(event: Record) -> Removal:
        return Removal(conversations(event), intake.text(event.key))

    def tell_messages(event: Record) -> Iterator[None]:
        return conversations(event).tell_messages(intake.text(event.key))

    loop = Loop(intake, intake.row, merge, Removals(remover, removing), before, tell_messages)

    async def agent(stream: Stream) -> None:
        """Merge each conversation's row, write its state."""
        await loop.run(stream)

    return agent
