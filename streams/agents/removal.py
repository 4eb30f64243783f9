"""Removals: rows leave their table for good, and all dependents are updated, whenever a worker dies.

Each has two halves, with everything acknowledged in between. Otherwise a crash could remove the facts before a
dependent is updated, which then would never happen: a conversation's data is the only list of its messages, and facts
are the only list of what a removal deletes.
"""

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from streams.agents.intake import Intake
from streams.contract import Refused
from streams.engine.source import Record
from streams.engine.stream import Inbox
from streams.engine.table import Sender
from streams.state.contribution import belongs_to
from streams.tables.conversations import ConversationPartition
from streams.tables.messages import MessagePartition


class Removal(NamedTuple):
    """What is removed from which table; a conversation `with_messages` takes those that belong to it along.

    `judging` decides in steps whether it is; None: it is.
    """

    table: MessagePartition | ConversationPartition
    key: str
    with_messages: bool = False
    judging: Generator[None, None, bool] | None = None


#: Returns what an event removes, None for nothing. Raises Refused.
Removing = Callable[[Record], Removal | None]


class Remover:
    """Removes rows."""

    def __init__(self, intake: Intake, sender: Callable[[], Sender]) -> None:
        """Write with the result of `sender`."""
        self._intake = intake
        self._sender = sender

    async def remove(self, inbox: Inbox, events: Sequence[Record], removing: Removing) -> None:
        """Remove what events request. None of them counts as processed before all of it is."""
        await inbox.flush()
        refusals: list[tuple[Record, Refused]] = []
        requested: list[Removal] = []
        for event in events:
            try:
                removal = removing(event)
            except Refused as refused:
                refusals.append((event, refused))
            else:
                requested += [] if removal is None else [removal]
        removals = [each for each in requested if each.judging is None or await inbox.in_turns(each.judging)]
        if any(removal.with_messages for removal in removals):
            await self._remove_messages(inbox, removals)
        for removal in removals:
            for _ in removal.table.retract(removal.key):
                await inbox.breathe()
        await inbox.acknowledged()
        for removal in removals:
            removal.table.remove(removal.key)
            await inbox.breathe()
        for event, refusal in refusals:
            self._intake.refuse(event, refusal)
        for event in events:
            inbox.done(event)

    async def _remove_messages(self, inbox: Inbox, removals: Sequence[Removal]) -> None:
        """Write tombstones for the messages of conversations, and wait until they are acknowledged."""
        sender = self._sender()
        topic = self._intake.contract.topic("messages")
        for removal in removals:
            if not removal.with_messages or not isinstance(removal.table, ConversationPartition):
                continue
            for message_id, part in removal.table.contributions(removal.key):
                if belongs_to(part, removal.key):
                    sender.write(topic, message_id.encode(), None)
                await inbox.breathe()
        await inbox.acknowledged()
