"""contacts -> contact table, contacts-addresses -> address table: rows are merged and sent to their followers.

A record without a value removes a row's facts. That needs no second half: followers are stored beyond it, so a removal
that is replayed after a crash updates all of them once more.
"""

from collections.abc import Callable
from functools import partial

from streams.agents.intake import Intake, RowEvent
from streams.agents.loop import Agent, Loop, Stream
from streams.engine.source import Record
from streams.tables.contacts import AddressPartition, ContactPartition

#: A partition of a table, for the given event.
ContactsOf = Callable[[Record], ContactPartition]
AddressesOf = Callable[[Record], AddressPartition]


def merge_contacts(contacts: ContactsOf, intake: Intake) -> Agent:
    """Return the agent."""

    def merge(event: Record, told: RowEvent | str) -> None:
        if isinstance(told, str):
            contacts(event).forget(told)
        else:
            contacts(event).apply(told.fields, organizations=told.organizations)

    loop = Loop(intake, partial(_row_or_key, intake), merge)

    async def agent(stream: Stream) -> None:
        """Merge each contact's facts, send them to its addresses."""
        await loop.run(stream)

    return agent


def merge_addresses(addresses: AddressesOf, intake: Intake) -> Agent:
    """Return the agent."""

    def merge(event: Record, told: RowEvent | str) -> None:
        if isinstance(told, str):
            addresses(event).forget(told)
        else:
            addresses(event).apply(told.fields)

    loop = Loop(intake, partial(_row_or_key, intake), merge)

    async def agent(stream: Stream) -> None:
        """Merge each address's facts, send them to the conversations that have it, follow its contact."""
        await loop.run(stream)

    return agent


def _row_or_key(intake: Intake, event: Record) -> RowEvent | str:
    """Return a row's facts, or the key of a removed one."""
    return intake.text(event.key) if event.value is None else intake.row(event)
