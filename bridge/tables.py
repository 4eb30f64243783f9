"""Rows of contacts and of their addresses as they are stored: in the tables of the workers, and in no state topic.

Both tables are read from their changelogs. The format of a value is that of `streams.state.contact`, in the order of
the fields there: the row's facts, and its followers. Tests of the project write with the one and read with the other.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from msgspec import DecodeError, Struct, convert, msgpack

#: The changelogs of the tables, by entity. A contact is deleted before the addresses that lead to it: an erasure that
#: was interrupted finds it by them when it is repeated.
TABLES: Mapping[str, str] = {
    "contacts": "streams-contacts-changelog",
    "contacts_addresses": "streams-addresses-changelog",
}
ENTITIES: Mapping[str, str] = {topic: entity for entity, topic in TABLES.items()}

#: The only version of the facts, see `streams.state.contact.FORMAT`.
_FORMAT = 1

#: Separates the organizations of a writer who may write for several, see `streams.state.claims`.
_SEPARATOR = " "

Register = tuple[int, int, str | None]
Registers = dict[str, Register]
Row = TypeVar("Row")


class UnreadableRowError(Exception):
    """An unreadable value: its person is unknown."""


class Contact(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The facts of a contact by trusted writers; `claims` has those by others, and when each claimed it."""

    format: int
    columns: Registers
    organizations: list[str]
    deletes: list[str | None]
    claims: "dict[str, tuple[int | None, Contact]]"


class Address(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The facts of an address: the stamps of its newest row and of its last delete, and its contacts."""

    format: int
    columns: Registers
    newest: int | None
    cut: int | None
    contacts: Any

    @property
    def live(self) -> bool:
        """Whether a row is newer than the last delete."""
        return self.newest is not None and (self.cut is None or self.newest > self.cut)


class ContactRow(Struct, array_like=True, frozen=True):
    """A stored contact. Its followers are addresses, by organization."""

    facts: Contact
    followers: dict[str, list[str]]


class AddressRow(Struct, array_like=True, frozen=True):
    """A stored address. Its followers are conversations."""

    facts: Address
    followers: Any


def contact_row(value: bytes) -> ContactRow:
    """Return what a record of the table of contacts has. Raises UnreadableRowError."""
    return _decoded(value, ContactRow)


def address_row(value: bytes) -> AddressRow:
    """Return what a record of the table of addresses has. Raises UnreadableRowError."""
    return _decoded(value, AddressRow)


def _decoded(value: bytes, kind: type[Row]) -> Row:
    try:
        row = msgpack.decode(value)
        version = row[0][0]
        if version != _FORMAT:
            raise UnreadableRowError(f"a row of format {version}: of another version of the workers")
        return convert(row, kind)
    except (DecodeError, LookupError, TypeError, ValueError) as error:
        raise UnreadableRowError(f"no row of its table: {type(error).__name__}") from None


def organizations_of(writer: str) -> list[str]:
    """Return the organizations that the writer of a claim, its key, may write for."""
    return writer.split(_SEPARATOR)


def text_in(columns: Registers, name: str) -> str | None:
    """Return the value of a column, None if it has none."""
    return columns[name][2] if name in columns else None
