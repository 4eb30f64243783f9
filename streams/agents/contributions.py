"""contributions -> both tables: conversations hear what their messages add, messages hear what others know of them."""

from streams.agents.conversations import ConversationsOf
from streams.agents.intake import Intake, Merge
from streams.agents.loop import Agent, Loop, Stream
from streams.agents.messages import MessagesOf
from streams.agents.removal import Removal, Remover
from streams.contract import Refused
from streams.engine.source import Record
from streams.tables.contributions import HOLDERS, HolderRecord, VerdictRecord, decode_record
from streams.tables.idle import EVICTION, decode_eviction


def merge_contributions(
    messages: MessagesOf, conversations: ConversationsOf, intake: Intake, remover: Remover
) -> Agent:
    """Return the agent."""
    merge = _merging(messages, conversations, intake)

    def removing(event: Record) -> Removal | None:
        key = intake.text(event.key)
        if event.value is None:
            raise Refused("undecodable", "a contribution without a value")
        table = conversations(event)
        if not table.rows.caught_up():
            # Trap: a request that is met again after a restart, or while a table is made from the sources, would judge
            # by a part of what the tables had when it was made, and remove what is alive.
            table.postpone(key, event.value)
            return None
        idle = table.is_idle(key, decode_eviction(event.value))
        return Removal(table, key, with_messages=True) if idle else None

    loop = Loop(intake, remover, merge, removing, removes=_asks_to_leave)

    async def agent(stream: Stream) -> None:
        """Count what messages add to their conversation, write its state, tell each new status."""
        await loop.run(stream)

    return agent


def _merging(messages: MessagesOf, conversations: ConversationsOf, intake: Intake) -> Merge:
    def merge(event: Record) -> None:
        assert event.value is not None  # noqa: S101 without a value it goes another way
        told = decode_record(event.value)
        if isinstance(told, HolderRecord):
            if event.key is None or not event.key.startswith(HOLDERS):
                raise Refused("bad_key", "the key is not that of an external id")
            messages(event).apply_holder(event.key, told)
        elif isinstance(told, VerdictRecord):
            messages(event).apply_verdict(intake.text(event.key), told)
        else:
            conversations(event).apply_contribution(intake.text(event.key), told)

    return merge


def _asks_to_leave(event: Record) -> bool:
    return event.value is None or event.value.startswith(EVICTION)
