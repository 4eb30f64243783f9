"""Contacts and their addresses: what the workers' tables store of both, and the contact that a conversation shows.

A conversation names an address: `(organization, service, address)`. The row of that address names a contact, whose row
has the name. So facts travel towards the conversation: an address has those of its contact beside its own, and a
conversation those of its address.
"""

from collections.abc import Collection, Mapping
from functools import reduce
from typing import Any

from msgspec import DecodeError, Struct, json, msgpack, structs

from avro import jsontext
from avro.rows import made_id
from openbsp.merge import claims, deletion, registers
from openbsp.merge.registers import Register, Registers, Version, join_each, later, stamp_of, text_of

#: Longest shown name.
NAME_CHARACTERS = 280

#: Longer ids (UTF-8) have no contact: records made of facts have a size limit, whatever the number of facts.
KEY_BYTES = 1024

#: The number with which stored facts begin.
FORMAT = 1

NAME, OWNER, CONTACT, EXTRA = "name", "organization_id", "contact_id", "extra"
#: The columns of a contact's row, and of an address's, that are stored: of `extra` its member `name`.
CONTACT_COLUMNS, ADDRESS_COLUMNS = (NAME, OWNER), (CONTACT, EXTRA)


#: Registers of texts.
Texts = dict[str, tuple[int, int, str | None]]


class ContactFacts(Struct, array_like=True, frozen=True, gc=False):
    """The facts of a contact's row: its organization and its name."""

    format: int = FORMAT
    columns: Texts = {}
    organizations: list[str] = []
    deletes: list[str | None] = []
    claims: "dict[str, tuple[int | None, ContactFacts]]" = {}


class AddressFacts(Struct, array_like=True, frozen=True, gc=False):
    """The facts of an address: its contact, its name at the service, and the facts of contacts that it had.

    `newest` is the stamp of its newest row. An address has no id of its own that could be used up, so it can come back
    after a delete: rows that are not newer than `cut`, the last delete, do not count.
    """

    format: int = FORMAT
    columns: Texts = {}
    newest: int | None = None
    cut: int | None = None
    contacts: dict[str, ContactFacts] = {}


NO_CONTACT, NO_ADDRESS = ContactFacts(), AddressFacts()


def contact_facts(event: dict[str, Any], organizations: Collection[str] | None = None) -> ContactFacts:
    """Return the facts in one ContactEvent of a writer for some organizations only (None: all)."""
    organization = event[OWNER]
    if event["action"] == "delete":
        told = ContactFacts(deletes=[organization])
    else:
        columns = columns_of(event, CONTACT_COLUMNS)
        told = ContactFacts(columns=columns, organizations=[] if organization is None else [organization])
    if organizations is None:
        return told
    return ContactFacts(claims=claims.claimed(event, told, organizations))


def address_facts(event: dict[str, Any]) -> AddressFacts:
    """Return the facts in one ContactAddressEvent. Its writer was authorized: the id contains the organization."""
    if event["action"] == "delete":
        # Trap: a delete has no time but when it was received, which is after all rows that it deletes.
        return AddressFacts(cut=int(event["received_at"]) * 2 + 1)
    return AddressFacts(columns=columns_of(event, ADDRESS_COLUMNS), newest=stamp_of(event))


def columns_of(event: dict[str, Any], names: tuple[str, ...]) -> Registers:
    """Return what is stored of these columns of an event's row."""
    version: Version = (0, stamp_of(event))
    columns = registers.columns_of(event, tuple(name for name in names if name in event and name != EXTRA), version)
    return {name: (*version, _shown(name, columns[name])) for name in names if name in columns}


def _shown(column: str, register: Register) -> str | None:
    value = register[2]
    if column == EXTRA:
        value = _name_in(value) if type(value) is bytes else None
    if type(value) is not str:
        return None
    if column in (NAME, EXTRA):
        return value[:NAME_CHARACTERS]
    return value if column == OWNER or is_key(value) else None


def is_key(text: str) -> bool:
    """Return whether a row of that id can be found by it."""
    return 0 < len(text.encode()) <= KEY_BYTES


class _Extra(Struct):
    name: Any = None


_decode_extra = json.Decoder(_Extra).decode


def _name_in(text: bytes) -> Any:
    try:
        return _decode_extra(text).name
    except (DecodeError, RecursionError):
        pass
    # Trap: a number that msgspec cannot hold must not hide the name. Other values are no objects.
    try:
        found = jsontext.decode(text)
    except (jsontext.MalformedJsonError, RecursionError):
        return None
    return found.get("name") if type(found) is dict else None


def join_contacts(a: ContactFacts, b: ContactFacts) -> ContactFacts:
    """Merge two facts. Idempotent, commutative, associative."""
    return claims.join_facts(a, b, _join_unclaimed, _stripped)


def _join_unclaimed(a: ContactFacts, b: ContactFacts) -> ContactFacts:
    joined = ContactFacts(
        columns=registers.join(a.columns, b.columns),
        organizations=deletion.join_names(a.organizations, b.organizations, deletion.NAMES_LIMIT),
        deletes=deletion.join_deletes(a.deletes, b.deletes),
    )
    return _stripped(joined) if deletion.is_certain(joined.deletes, joined.organizations) else joined


def _stripped(facts: ContactFacts) -> ContactFacts:
    return ContactFacts(organizations=facts.organizations, deletes=facts.deletes)


def join_addresses(a: AddressFacts, b: AddressFacts) -> AddressFacts:
    """Merge two facts. Idempotent, commutative, associative."""
    cut = later(a.cut, b.cut)
    columns = registers.join(a.columns, b.columns)
    if cut is not None:
        columns = {name: register for name, register in columns.items() if register[1] > cut}
    return AddressFacts(
        columns=columns,
        newest=later(a.newest, b.newest),
        cut=cut,
        contacts=join_each(a.contacts, b.contacts, join_contacts),
    )


def join_known(a: dict[str, AddressFacts], b: dict[str, AddressFacts]) -> dict[str, AddressFacts]:
    """Merge the facts of each address."""
    return join_each(a, b, join_addresses)


def is_known(facts: AddressFacts) -> bool:
    """Return whether there is a row of the address."""
    return facts.newest is not None and (facts.cut is None or facts.newest > facts.cut)


def contact_of(facts: AddressFacts) -> str | None:
    """Return the id of the contact whose address it is, None if it is of none."""
    return text_of(facts.columns.get(CONTACT)) or None


def of_its_contact(facts: AddressFacts) -> AddressFacts:
    """Return the facts without those of former contacts."""
    current = contact_of(facts)
    if all(contact == current for contact in facts.contacts):
        return facts
    kept = {contact: told for contact, told in facts.contacts.items() if contact == current}
    return structs.replace(facts, contacts=kept)


def with_contact(facts: AddressFacts, contact: str, told: ContactFacts | None) -> AddressFacts:
    """Return the facts with these of a contact instead of others; None: it has none any more."""
    contacts = {name: one for name, one in facts.contacts.items() if name != contact}
    return structs.replace(facts, contacts=contacts if told is None else contacts | {contact: told})


def owner_of(facts: ContactFacts) -> str | None:
    """Return the organization whose contact it is, None if none is known."""
    return claims.owner(text_of(facts.columns.get(OWNER)), facts.claims)


def counting_for(facts: ContactFacts, organization: str | None) -> ContactFacts:
    """Return the facts that count if a contact is that organization's: of trusted writers, and of its own."""
    if not facts.claims:
        return facts
    return reduce(_join_unclaimed, claims.of(facts.claims, organization), structs.replace(facts, claims={}))


def name_of(facts: ContactFacts, organization: str) -> str | None:
    """Return the name of a contact for an organization, None if it has none, or is another's."""
    if owner_of(facts) != organization:
        return None
    found = counting_for(facts, organization)
    if deletion.is_deleted(found.deletes, found.organizations):
        return None
    return text_of(found.columns.get(NAME)) or None


def shown(facts: AddressFacts | None, organization: str, address: str) -> dict[str, str | None] | None:
    """Return the contact that a conversation with that address shows, None while there is no row of the address."""
    if facts is None or not is_known(facts):
        return None
    contact = contact_of(facts)
    told = None if contact is None else facts.contacts.get(contact)
    name = None if told is None else name_of(told, organization)
    return {"id": contact, "name": name or text_of(facts.columns.get(EXTRA)) or None, "address": address}


def address_id(columns: Mapping[str, Register]) -> str | None:
    """Return the id of the address that a conversation's row names, None if it names none that could be a key."""
    organization, service, address = (text_of(columns.get(name)) for name in (OWNER, "service", "contact_address"))
    if not (organization and service and address):
        return None
    made = made_id(organization, service, address)
    return made if is_key(made) else None


Followers = dict[str, list[str]]


class ContactRow(Struct, array_like=True, frozen=True, gc=False):
    """A stored contact: its facts, and the addresses that follow it."""

    facts: ContactFacts = NO_CONTACT
    followers: Followers = {}


class AddressRow(Struct, array_like=True, frozen=True, gc=False):
    """A stored address: its facts, and the conversations that follow it, with their age."""

    facts: AddressFacts = NO_ADDRESS
    followers: dict[str, Version] = {}


encode = msgpack.Encoder().encode
decode_contact_row = msgpack.Decoder(ContactRow).decode
decode_address_row = msgpack.Decoder(AddressRow).decode
