"""contributions -> both tables: conversations hear what their messages add, messages hear what others know of them."""

from itertools import groupby

from streams.agents.conversations import ConversationsOf
from streams.agents.intake import SLICE, Intake, Merge
from streams.agents.messages import Agent, MessagesOf, Stream
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
        idle = table.is_idle(key, decode_eviction(event.value))
        return Removal(table, key, with_messages=True) if idle else None

    async def agent(stream: Stream) -> None:
        """Count what messages add to their conversation, write its state, tell each new status."""
        inbox = stream.inbox
        async for events in stream.take_events(SLICE):
            for asked_to_leave, run in groupby(events, _asks_to_leave):
                if asked_to_leave:
                    await remover.remove(inbox, list(run), removing)
                else:
                    await intake.take(inbox, list(run), merge)
                if inbox.ending.is_set():
                    break

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
