"""The tables of contacts and of their addresses, which have no state topic: read from the workers' changelogs.

The columns of all tables are declared in `avro/columns.py`.
"""

from collections.abc import Mapping
from typing import TypeVar

from msgspec import DecodeError, convert, msgpack

from openbsp.merge.contact import FORMAT, AddressRow, ContactRow, encode

#: The changelogs of the tables, by entity. A contact is deleted before the addresses that lead to it: an erasure that
#: was interrupted finds it by them when it is repeated.
TABLES: Mapping[str, str] = {
    "contacts": "streams-contacts-changelog",
    "contacts_addresses": "streams-addresses-changelog",
}
ENTITIES: Mapping[str, str] = {topic: entity for entity, topic in TABLES.items()}

Row = TypeVar("Row", ContactRow, AddressRow)


class UnreadableRowError(Exception):
    """An unreadable value: its person is unknown."""


def contact_row(value: bytes) -> ContactRow:
    """Return what a record of the table of contacts has. Raises UnreadableRowError."""
    return _decoded(value, ContactRow)


def address_row(value: bytes) -> AddressRow:
    """Return what a record of the table of addresses has. Raises UnreadableRowError."""
    return _decoded(value, AddressRow)


def _decoded(value: bytes, kind: type[Row]) -> Row:
    try:
        stored = msgpack.decode(value)
        version = stored[0][0]
        if version != FORMAT:
            raise UnreadableRowError(f"a row of format {version}: of another version of the workers")
        row = convert(stored, kind)
        # Trap: members that are missing, or facts that this version does not know, raise nothing.
        is_whole = encode(row) == encode(stored[:2])
    except (DecodeError, LookupError, TypeError, ValueError) as error:
        raise UnreadableRowError(f"no row of its table: {type(error).__name__}") from None
    if not is_whole:
        raise UnreadableRowError("no row of its table: it has other members")
    return row
