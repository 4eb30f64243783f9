"""Rows of contacts and of their addresses, as the worker's tables have them: no state topic does.

Both tables are read from their changelogs. What a value is stands in `streams.state.contact`: its first member has the
facts, in the order of the fields there. A test of the project writes with the one and reads with the other.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from msgspec import DecodeError, msgpack

from avro.rows import made_id, organization_in

#: The changelogs of the tables, by entity; an address is deleted before the contact whose it is.
TABLES: Mapping[str, str] = {
    "contacts_addresses": "streams-addresses-changelog",
    "contacts": "streams-contacts-changelog",
}
ENTITIES: Mapping[str, str] = {topic: entity for entity, topic in TABLES.items()}

#: Services of OpenBSP, for which ids of addresses are made, besides those that conversations have.
SERVICES = frozenset({"whatsapp", "instagram", "local"})

#: The only version of the facts that there is, see `streams.state.contact.FORMAT`.
_FORMAT = 1


class UnreadableRowError(Exception):
    """A value of which nobody can say whose it is."""


class Person(NamedTuple):
    """What a row is of. `live` is whether it has anything but ids: what is remembered of a deleted row is not."""

    live: bool
    organizations: frozenset[str]
    #: Of an address: the contact whose it is.
    contact: str | None = None


def read(entity: str, key: str, value: bytes) -> Person:
    """Return what a record of a table says. Raises UnreadableRowError."""
    if not key:
        # How far the table is.
        return Person(live=False, organizations=frozenset())
    try:
        facts = msgpack.decode(value)[0]
        if facts[0] != _FORMAT:
            raise UnreadableRowError(f"a row of format {facts[0]}: of another version of the workers")
        return _address(key, facts) if entity == "contacts_addresses" else _contact(facts)
    except (DecodeError, LookupError, TypeError, ValueError) as error:
        raise UnreadableRowError(f"no row of its table: {type(error).__name__}") from None


def _address(key: str, facts: list[Any]) -> Person:
    _, columns, newest, cut, _ = facts
    organization = organization_in(key)
    return Person(
        newest is not None and (cut is None or newest > cut),
        frozenset() if organization is None else frozenset({organization}),
        _text(columns, "contact_id"),
    )


def _contact(facts: list[Any]) -> Person:
    _, columns, organizations, _, claims = facts
    live, owners = bool(columns), {*organizations, _text(columns, "organization_id")}
    for _, claimed in claims.values():
        told = _contact(claimed)
        live, owners = live or told.live, owners | told.organizations
    return Person(live, frozenset(filter(None, owners)))


def _text(columns: Mapping[str, Any], name: str) -> str | None:
    value = columns[name][2] if name in columns else None
    return value if type(value) is str else None


def is_address(key: str, address: str, services: Iterable[str], organizations: Collection[str] = ()) -> bool:
    """Return whether a key is the id of an address, of one of the services and (if there are any) organizations."""
    organization = organization_in(key)
    if not organization or (organizations and organization not in organizations):
        return False
    return any(made_id(organization, service, address) == key for service in services)
