"""contributions -> all tables: conversations get what their messages add, messages get verdicts.

And conversations get the facts of their addresses, those of their contacts.
"""

from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple

from streams.agents.contacts import AddressesOf, ContactsOf
from streams.agents.conversations import ConversationsOf
from streams.agents.intake import Intake, Merge
from streams.agents.loop import Agent, Loop, Removals, Stream
from streams.agents.messages import MessagesOf
from streams.agents.removal import Removal, Remover
from streams.contract import Refused
from streams.engine.source import Record
from streams.tables.contributions import HOLDERS, ContributionRecord, HolderRecord, VerdictRecord, decode_record
from streams.tables.conversations import ConversationPartition
from streams.tables.idle import EVICTION, decode_eviction
from streams.tables.links import AddressFollowed, AddressUpdate, ContactFollowed, ContactUpdate, Link

Linking = Callable[[Record, str, Link], None]


class People(NamedTuple):
    """The tables of contacts and of their addresses."""

    contacts: ContactsOf
    addresses: AddressesOf


def merge_contributions(
    messages: MessagesOf, conversations: ConversationsOf, people: People, intake: Intake, remover: Remover
) -> Agent:
    """Return the agent."""
    merge = _merging(messages, conversations, _linking(conversations, people), intake)

    def removing(event: Record) -> Removal | None:
        key = intake.text(event.key)
        if event.value is None:
            raise Refused("undecodable", "a contribution without a value")
        table = conversations(event)
        if not table.rows.caught_up():
            # Trap: an eviction replayed after a restart, or while a table is rebuilt from the sources, would be judged
            # by a part of the table's former content, and remove what is alive.
            table.postpone(key, event.value)
            return None
        return Removal(table, key, with_messages=True, judging=_judging(table, key, decode_eviction(event.value)))

    def before(event: Record, told: ContributionRecord | HolderRecord | VerdictRecord | Link) -> Iterable[None]:
        if isinstance(told, ContributionRecord | AddressUpdate):
            return conversations(event).bringing_into_use(intake.text(event.key))
        return ()

    loop = Loop(intake, _read, merge, Removals(remover, removing, _asks_for_removal), before)

    async def agent(stream: Stream) -> None:
        """Count what messages add to their conversation, write its state, publish each new status.

        Messages that are superseded or deleted get their verdicts, conversations and addresses the contacts that they
        follow; idle conversations are removed.
        """
        await loop.run(stream)

    return agent


def _judging(table: ConversationPartition, key: str, before: int) -> Generator[None, None, bool]:
    idle = yield from table.is_idle(key, before)
    if not idle:
        # Trap: a worker that ended in the middle of its removal may have deleted rows from the log that the table has.
        yield from table.rewrite_rows(key)
    return idle


def _linking(conversations: ConversationsOf, people: People) -> Linking:
    def link(event: Record, key: str, told: Link) -> None:
        match told:
            case AddressFollowed():
                people.addresses(event).follow(key, told)
            case AddressUpdate():
                conversations(event).apply_address(key, told, event.offset)
            case ContactFollowed():
                people.contacts(event).follow(key, told)
            case ContactUpdate():
                people.addresses(event).apply_contact(key, told, event.offset)

    return link


def _merging(messages: MessagesOf, conversations: ConversationsOf, link: Linking, intake: Intake) -> Merge:
    def merge(event: Record, told: ContributionRecord | HolderRecord | VerdictRecord | Link) -> None:
        if isinstance(told, HolderRecord):
            if event.key is None or not event.key.startswith(HOLDERS):
                raise Refused("bad_key", "the key is not that of an external id")
            messages(event).apply_holder(event.key, told)
        elif isinstance(told, VerdictRecord):
            messages(event).apply_verdict(intake.text(event.key), told)
        elif isinstance(told, ContributionRecord):
            conversations(event).apply_contribution(intake.text(event.key), told)
        else:
            link(event, intake.text(event.key), told)

    return merge


def _read(event: Record) -> ContributionRecord | HolderRecord | VerdictRecord | Link:
    assert event.value is not None  # noqa: S101 without a value it goes another way
    return decode_record(event.value)


def _asks_for_removal(event: Record) -> bool:
    return event.value is None or event.value.startswith(EVICTION)
