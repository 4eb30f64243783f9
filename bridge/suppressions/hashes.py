"""Suppressed contacts, as hashes that only the holder of the deployment's key can make. Pure."""

import hmac
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

#: The reason of the dead letters for what suppressed contacts send, and what it says.
SUPPRESSED = "suppressed"
SUPPRESSED_DETAIL = "the contact was erased and stays out"

#: The column that says whose a row is, by entity; in all others it is `contact_address`.
_TOLD_BY = {"contacts": "id", "contacts_addresses": "address"}


def key_id(key: bytes) -> str:
    """Return which key made an entry, so that others can be told from it: 16 hexadecimal digits."""
    # Trap: entries are hashes of JSON, which this is not.
    return hmac.digest(key, b"key id", "sha256").hex()[:16]


class Contact(NamedTuple):
    """An address; of one service, of one organization, or of any (None)."""

    address: str
    service: str | None = None
    organization_id: str | None = None

    def hash(self, key: bytes) -> str:
        """Return the contact's entry in the list: without the key, addresses cannot be guessed."""
        named = json.dumps([self.address, self.service, self.organization_id], ensure_ascii=False)
        return hmac.digest(key, named.encode(), "sha256").hex()


def row_hash(key: bytes, contact_id: str, organization_id: str | None) -> str:
    """Return the entry in the list for a row of contacts, which names no address.

    It is of one organization, or of those that name none (None): another one may have a contact with that id.
    """
    # Trap: a list of three would be that of a contact whose address is the first text.
    named = json.dumps(["contacts", "id", contact_id, organization_id], ensure_ascii=False)
    return hmac.digest(key, named.encode(), "sha256").hex()


class Suppressed:
    """The list, as known to one process.

    `active` is whether it has entries. It is `known` once it was read, and until then nothing may be published: a
    suppressed contact would get in.
    """

    def __init__(self, key: bytes | None) -> None:
        """Start unknown; without a key, there is no list."""
        self._key = key or b""
        #: See the function; None without a key.
        self.key_id = None if key is None else key_id(key)
        #: The key that made each entry, "" where it is unknown.
        self._hashes: dict[str, str] = {}
        self.active = False
        self.known = key is None

    def __len__(self) -> int:
        """Return how many entries there are."""
        return len(self._hashes)

    @property
    def void(self) -> int:
        """How many entries another key made: no contact is recognised by them."""
        return sum(made_with not in {"", self.key_id} for made_with in self._hashes.values())

    def beyond(self, entries: Mapping[str, str | None]) -> set[str]:
        """Return the entries that are not among these."""
        return set(self._hashes).difference(entries)

    def take(self, entries: Mapping[str, str | None]) -> None:
        """Apply hashes that a key made ("": an unknown one), or that were lifted (None)."""
        for entry, made_with in entries.items():
            if made_with is None:
                self._hashes.pop(entry, None)
            else:
                self._hashes[entry] = made_with
        self.active = bool(self._hashes)

    def has(self, entity: str, row: Mapping[str, Any]) -> bool:
        """Return whether a row is of a suppressed contact. One that names no address is of none.

        Except a row of contacts: that is recognised by its id.
        """
        if not self.active:
            return False
        if entity == "contacts":
            organization = row.get("organization_id")
            return row_hash(self._key, row["id"], organization if type(organization) is str else None) in self._hashes
        address = row.get(_TOLD_BY.get(entity, "contact_address"))
        if type(address) is not str or not address:
            return False
        return any(contact.hash(self._key) in self._hashes for contact in _wider(address, row))

    def may_have(self, entity: str, row: Any) -> bool:
        """Return whether a row that may be anything is of a suppressed contact, or could be for what can be read of it.

        As for `has`, a row that names no address is of none.
        """
        if not self.active:
            return False
        if type(row) is not dict:
            return True
        column = _TOLD_BY.get(entity, "contact_address")
        if any(type(row.get(name)) not in _TEXT_OR_ABSENT for name in (column, "service", "organization_id")):
            return True
        return (entity in _TOLD_BY and not row.get(column)) or self.has(entity, row)


_TEXT_OR_ABSENT = (str, type(None))


def row_of(envelope: object) -> object:
    """Return the row of a webhook's decoded body; None if it has none, or may have others beside it."""
    if type(envelope) is not dict or not envelope.keys() <= {"entity", "action", "data"}:
        return None
    return envelope.get("data")


#: The list of a process without a key. Nothing is ever added to it.
NOBODY = Suppressed(None)


def _wider(address: str, row: Mapping[str, Any]) -> Iterator[Contact]:
    """Yield the entries that cover the row's contact: of its service or of any, of its organization or of any."""
    service, organization = row.get("service"), row.get("organization_id")
    for of_service in {service, None} if type(service) is str else {None}:
        for of_organization in {organization, None} if type(organization) is str else {None}:
            yield Contact(address, of_service, of_organization)
