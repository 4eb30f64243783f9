"""Rows of contacts and of their addresses, as the worker's tables have them: no state topic does.

Both tables are read from their changelogs. The format of a value is that of `streams.state.contact`: its first member
has the facts, in the order of the fields there, its second the row's followers. A test of the project writes with the
one and reads with the other.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from msgspec import DecodeError, msgpack

from avro.rows import made_id, organization_in

#: The changelogs of the tables, by entity. A contact is deleted before the addresses that lead to it: an erasure that
#: was interrupted finds it by them when it is repeated.
TABLES: Mapping[str, str] = {
    "contacts": "streams-contacts-changelog",
    "contacts_addresses": "streams-addresses-changelog",
}
ENTITIES: Mapping[str, str] = {topic: entity for entity, topic in TABLES.items()}

#: Services of OpenBSP, for which ids of addresses are made, besides those that conversations have.
SERVICES = frozenset({"whatsapp", "instagram", "local"})

#: The only version of the facts, see `streams.state.contact.FORMAT`.
_FORMAT = 1


#: Separates the organizations of a writer who may write for several, see `streams.state.claims`.
_SEPARATOR = " "


class UnreadableRowError(Exception):
    """An unreadable value: its person is unknown."""


class Person(NamedTuple):
    """The person of a row. `live` is whether it has anything but ids, unlike the remains of a deleted row."""

    live: bool
    organizations: frozenset[str]
    #: Of an address: its contact.
    contact: str | None = None
    #: Of an address: its name at the service.
    name: str | None = None
    #: The organizations for which it has more than ids; None for rows without an organization.
    live_for: frozenset[str | None] = frozenset()
    #: Of a contact: the addresses that name it, or once did.
    followers: frozenset[str] = frozenset()

    def is_live(self, organization: str | None) -> bool:
        """Return whether it has more than ids for an organization (None: for any), whose delete is still due."""
        return self.live if organization is None else organization in self.live_for or None in self.live_for


def read(entity: str, key: str, value: bytes) -> Person:
    """Return the person in a record of a table. Raises UnreadableRowError."""
    if not key:
        # The table's progress.
        return Person(live=False, organizations=frozenset())
    try:
        facts, followers = msgpack.decode(value)
        if facts[0] != _FORMAT:
            raise UnreadableRowError(f"a row of format {facts[0]}: of another version of the workers")
        if entity == "contacts_addresses":
            return _address(key, facts)
        return _contact(facts)._replace(followers=frozenset().union(*followers.values()))
    except (DecodeError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableRowError(f"no row of its table: {type(error).__name__}") from None


def _address(key: str, facts: list[Any]) -> Person:
    _, columns, newest, cut, _ = facts
    organization = organization_in(key)
    owners = frozenset() if organization is None else frozenset({organization})
    live = newest is not None and (cut is None or newest > cut)
    name = _text(columns, "extra")
    return Person(live, owners, _text(columns, "contact_id"), name, live_for=owners if live else frozenset())


def _contact(facts: list[Any], writers: Collection[str] = ()) -> Person:
    """Return the person in facts, those that `writers` claimed or (if there are none) those of any writer."""
    _, columns, organizations, _, claims = facts
    owners = frozenset(filter(None, {*organizations, _text(columns, "organization_id")}))
    live_for: frozenset[str | None] = frozenset(owners or writers or (None,)) if columns else frozenset()
    for writer, (_, claimed) in claims.items():
        told = _contact(claimed, writer.split(_SEPARATOR))
        live_for, owners = live_for | told.live_for, owners | told.organizations
    return Person(bool(live_for), owners, live_for=live_for)


def _text(columns: Mapping[str, Any], name: str) -> str | None:
    value = columns[name][2] if name in columns else None
    return value if type(value) is str else None


def address_of(state: Mapping[str, Any]) -> str | None:
    """Return the id of the address that a conversation names, None if it names none."""
    organization, service, address = state["organization_id"], state["service"], state["contact_address"]
    return made_id(organization, service, address) if organization and service and address else None


def is_address(key: str, address: str, services: Iterable[str], organizations: Collection[str] = ()) -> bool:
    """Return whether a key is the id of an address, of one of the services and (if given) organizations."""
    organization = organization_in(key)
    if not organization or (organizations and organization not in organizations):
        return False
    return any(made_id(organization, service, address) == key for service in services)
