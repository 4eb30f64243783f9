"""messages -> message table: rows are merged, and conversations get what their messages add."""

from collections.abc import Callable

from streams.agents.intake import Intake, RowEvent
from streams.agents.loop import Agent, Loop, Removals, Stream
from streams.agents.removal import Removal, Remover
from streams.engine.source import Record
from streams.tables.messages import MessagePartition

#: A partition of a table, for the given event.
MessagesOf = Callable[[Record], MessagePartition]


def merge_messages(messages: MessagesOf, intake: Intake, remover: Remover) -> Agent:
    """Return the agent."""

    def merge(event: Record, told: RowEvent) -> None:
        table = messages(event)
        table.apply(told.fields, told.size, replayed=table.rows.seen(event), organizations=told.organizations)

    def removing(event: Record) -> Removal:
        return Removal(messages(event), intake.text(event.key))

    loop = Loop(intake, intake.row, merge, Removals(remover, removing))

    async def agent(stream: Stream) -> None:
        """Merge each message's row, write its state, send its conversations what it adds."""
        await loop.run(stream)

    return agent
