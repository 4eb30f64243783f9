"""The person of a row of contacts or of their addresses."""

from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple

from avro.rows import made_id, organization_in
from bridge import contact_tables
from openbsp.merge import claims
from openbsp.merge.contact import CONTACT, EXTRA, OWNER, AddressFacts, ContactFacts, is_known
from openbsp.merge.registers import text_of

#: Services of OpenBSP, for which ids of addresses are made, besides those that conversations have.
SERVICES = frozenset({"whatsapp", "instagram", "local"})


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
    if entity == "contacts_addresses":
        return _address(key, contact_tables.address_row(value).facts)
    row = contact_tables.contact_row(value)
    return _contact(row.facts)._replace(followers=frozenset(chain.from_iterable(row.followers.values())))


def _address(key: str, facts: AddressFacts) -> Person:
    organization = organization_in(key)
    owners = frozenset() if organization is None else frozenset({organization})
    live, columns = is_known(facts), facts.columns
    contact, name = text_of(columns.get(CONTACT)), text_of(columns.get(EXTRA))
    return Person(live, owners, contact, name, live_for=owners if live else frozenset())


def _contact(facts: ContactFacts, writers: Collection[str] = ()) -> Person:
    """Return the person in facts, those that `writers` claimed or (if there are none) those of any writer."""
    owners = frozenset(filter(None, {*facts.organizations, text_of(facts.columns.get(OWNER))}))
    live_for: frozenset[str | None] = frozenset(owners or writers or (None,)) if facts.columns else frozenset()
    for writer, (_, claimed) in facts.claims.items():
        told = _contact(claimed, claims.organizations_of(writer))
        live_for, owners = live_for | told.live_for, owners | told.organizations
    return Person(bool(live_for), owners, live_for=live_for)


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
