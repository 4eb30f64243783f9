"""contributions -> conversation table: conversations hear what their messages add, and leave when they are idle."""

from itertools import groupby

from streams.agents.conversations import ConversationsOf
from streams.agents.intake import SLICE, Intake
from streams.agents.messages import Agent, Stream
from streams.agents.removal import Removal, Remover
from streams.contract import Refused
from streams.engine.source import Record
from streams.tables.contributions import decode_contribution
from streams.tables.idle import EVICTION, decode_eviction


def merge_contributions(conversations: ConversationsOf, intake: Intake, remover: Remover) -> Agent:
    """Return the agent."""

    def merge(event: Record) -> None:
        key = intake.text(event.key)
        assert event.value is not None  # noqa: S101 without a value it goes another way
        conversations(event).apply_contribution(key, decode_contribution(event.value))

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


def _asks_to_leave(event: Record) -> bool:
    return event.value is None or event.value.startswith(EVICTION)
