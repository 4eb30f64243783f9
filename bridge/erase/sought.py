"""What identifies an erasure in records and files: ids, an address, an organization. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.erase import people
from bridge.erase.find import Row, Wanted

#: Shorter ids occur in other texts by chance: only keys and fields are compared with them.
SHORTEST_ID = 8
#: Fields of the contract's records that name a row.
_NAMES = ("id", "key", "message_id", "external_id")
#: For fewer texts, one search for each is faster than one pass over the data.
_FEW = 64


class Needles:
    """Texts to find in bytes, any number of them."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Prepare the search for texts of any length but none."""
        self._all = sorted({text.encode() for text in texts if text})
        self.longest = max(map(len, self._all), default=0)
        self._shortest = min(map(len, self._all), default=0)
        self._by_beginning: dict[bytes, list[bytes]] = {}
        if len(self._all) > _FEW:
            for needle in self._all:
                self._by_beginning.setdefault(needle[: self._shortest], []).append(needle)

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self._all)

    def count(self, data: bytes) -> int:
        """Return at how many offsets of the data one of them occurs."""
        return sum(data.count(needle) for needle in self._all)

    def within(self, data: bytes) -> bool:
        """Return whether one of them occurs in the data."""
        if not self._by_beginning:
            return any(needle in data for needle in self._all)
        size, found = self._shortest, self._by_beginning
        for at in range(len(data) - size + 1):
            candidates = found.get(data[at : at + size])
            if candidates is not None and any(data.startswith(needle, at) for needle in candidates):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Sought:
    """The rows of an erasure by entity, and the texts by which they are found elsewhere."""

    rows: Mapping[str, frozenset[str]]
    ids: frozenset[str]
    wanted: Wanted
    needles: Needles
    #: The person's texts, other than ids: these must not occur in what is kept of a deleted row.
    texts: Needles
    #: Ids of contacts: a record with one may have the name of that contact.
    contacts: Needles
    #: The organizations whose rows of a contact are erased, by its id: another one's with that id is not.
    owners: Mapping[str, frozenset[str | None]]
    #: Names at the service of the contacts' addresses, by the ids of these: a conversation may still show them.
    names: Mapping[str, str | None] = field(default_factory=dict)

    @staticmethod
    def of(rows: Collection[Row], wanted: Wanted) -> "Sought":
        """Return what identifies these rows, and what else is known of the person or organization."""
        by_entity: dict[str, set[str]] = {}
        owners: dict[str, set[str | None]] = {}
        for row in rows:
            by_entity.setdefault(row.entity, set()).add(row.id)
            if row.entity == "contacts":
                owners.setdefault(row.id, set()).add(row.organization_id)
        external = {row.external_id for row in rows if row.external_id}
        ids = frozenset().union(*by_entity.values()) | external
        texts = set() if wanted.contact is None else {wanted.contact}
        names = ids if wanted.organization is None else ids | {wanted.organization}
        return Sought(
            {entity: frozenset(of_it) for entity, of_it in by_entity.items()},
            ids,
            wanted,
            Needles({name for name in names if len(name) >= SHORTEST_ID} | texts),
            Needles(texts),
            Needles({name for name in owners if len(name) >= SHORTEST_ID}),
            {name: frozenset(of_it) for name, of_it in owners.items()},
        )

    def shows(self, fields: Mapping[str, Any]) -> bool:
        """Return whether another person's conversation shows one of the contacts."""
        contact = fields.get("contact")
        owners = self.owners.get(contact.get("id") or "", ()) if isinstance(contact, dict) else ()
        return fields.get("organization_id") in owners or None in owners

    def names_one(self, fields: Mapping[str, Any]) -> bool:
        """Return whether a conversation that shows one of the contacts has its name, not just that of the address."""
        name = fields["contact"]["name"]
        return name is not None and name != self.names.get(people.address_of(fields) or "")

    def has_key(self, key: bytes) -> bool:
        """Return whether a key is, or names, one of the ids."""
        return key.decode("utf-8", "replace") in self.ids or self.needles.within(key)

    def is_of(self, fields: Mapping[str, Any]) -> bool:
        """Return whether a decoded record is of one of the rows, or names one in a field of its own."""
        organization = self.wanted.organization
        if organization is not None and fields.get("organization_id") == organization:
            return True
        if _is_one_of(fields.get("conversation_id"), self.rows.get("conversations", frozenset())):
            return True
        last = fields.get("last_message")
        return any(_is_one_of(fields.get(name), self.ids) for name in _NAMES) or (
            isinstance(last, dict) and _is_one_of(last.get("message_id"), self.ids)
        )


def _is_one_of(value: Any, ids: frozenset[str]) -> bool:
    # Trap: a spooled event has any JSON in any column, and a list or an object cannot be looked up in a set.
    return type(value) is str and value in ids
