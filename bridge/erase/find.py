"""What has to be deleted: the rows in the state topics that belong to a message, a conversation or a person."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from avro import jsontext
from avro.catalogue import DELETE, TOPICS
from avro.codec import CodecError
from avro.rows import organization_in
from bridge.cluster import STATE_TOPICS, Cluster
from bridge.contact_tables import TABLES, UnreadableRowError
from bridge.erase import people
from openbsp.kafka.reading import Range, TopicReader, ValueReader


class Row(NamedTuple):
    """A row to delete, by its ids; `found` says whether the states have it now."""

    entity: str
    id: str
    organization_id: str | None
    conversation_id: str | None = None
    external_id: str | None = None
    found: bool = True

    def body(self) -> bytes:
        """Return the webhook that deletes it."""
        ids = {"id": self.id, "organization_id": self.organization_id}
        if self.entity == "messages":
            ids |= {"conversation_id": self.conversation_id, "external_id": self.external_id}
        data = {name: value for name, value in ids.items() if value is not None}
        return jsontext.encode({"entity": self.entity, "action": DELETE, "data": data})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to erase. `contact` is an address; `service` and `organization_id` narrow that down.

    An organization alone means all of its rows.
    """

    messages: frozenset[str] = frozenset()
    conversations: frozenset[str] = frozenset()
    contact: str | None = None
    service: str | None = None
    organization_id: str | None = None

    @property
    def organization(self) -> str | None:
        """The organization that is erased as a whole, if one is."""
        narrower = self.contact is not None or self.messages or self.conversations
        return None if narrower else self.organization_id

    def has_address(self, key: str, services: Iterable[str] = ()) -> bool:
        """Return whether a key is the id of the contact's address: of the selected service, or of these."""
        if self.contact is None:
            return False
        of = {self.service} if self.service is not None else people.SERVICES.union(services)
        return people.is_address(key, self.contact, of, () if self.organization_id is None else {self.organization_id})

    def has(self, state: Mapping[str, Any]) -> bool:
        """Return whether a state is of the selected contact or organization."""
        if self.organization is not None:
            return bool(state["organization_id"] == self.organization)
        return (
            self.contact is not None
            # A row of contacts_addresses has that column instead.
            and self.contact in (state.get("contact_address"), state.get("address"))
            and (self.service is None or state["service"] == self.service)
            and (self.organization_id is None or state["organization_id"] == self.organization_id)
        )

    def leaves_open(self, entity: str, row: Mapping[str, Any]) -> bool:
        """Return whether a row may be of the selected contact: it lacks what would decide, and nothing excludes it."""
        if self.organization is not None:
            return row.get("organization_id") is None
        if entity == "messages" and self.conversations and row.get("conversation_id") is None:
            return True
        if self.contact is None:
            return False
        told = [
            (row.get("address" if entity == "contacts_addresses" else "contact_address"), self.contact),
            (row.get("service"), self.service),
            (row.get("organization_id"), self.organization_id),
        ]
        said = [(value, asked) for value, asked in told if asked is not None]
        return any(value is None for value, _ in said) and all(value in (None, asked) for value, asked in said)


#: Contacts by their ids, with the organizations that named them.
_Named = dict[str, set[str | None]]


@dataclass(slots=True)
class Found:
    """The rows to delete: by entity and id, but those of contacts, of which several organizations can have one id."""

    rows: dict[str, dict[str, Row]] = field(
        default_factory=lambda: {entity: {} for entity in (*STATE_TOPICS, "contacts_addresses")}
    )
    contacts: list[Row] = field(default_factory=list)
    #: Records with unreadable values: they may concern the person.
    unreadable: int = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows known from other sources than the states."""
        for row in rows:
            self.rows[row.entity].setdefault(row.id, row)

    def all(self) -> list[Row]:
        """Return all rows, messages before their conversations, these before their contacts, and addresses last."""
        by_entity = {entity: list(rows.values()) for entity, rows in self.rows.items()} | {"contacts": self.contacts}
        return [row for entity in (*STATE_TOPICS, *TABLES) for row in by_entity[entity]]


class States:
    """The current rows: the state topics, and the tables of contacts.

    A context manager; see TopicReader for what its methods raise.
    """

    def __init__(self, cluster: Cluster) -> None:
        """Find the topics."""
        self._readers: dict[str, TopicReader] = {}
        self._decoders: dict[str, ValueReader] = {}
        for entity, topic in STATE_TOPICS.items():
            self._readers[entity] = cluster.reader(topic)
            self._decoders[entity] = ValueReader(cast("str", TOPICS[topic].schema), cluster.registry)
        for entity, topic in TABLES.items():
            self._readers[entity] = cluster.reader(topic)
        #: The offsets up to which each was read.
        self._read: dict[str, dict[int, int]] = {}

    def __enter__(self) -> "States":  # noqa: PYI034 no class is made of it
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        for reader in self._readers.values():
            reader.close()

    def find(self, wanted: Wanted) -> Found:
        """Read everything to its end, and return what is to be deleted."""
        found = Found()
        conversations = found.rows["conversations"]
        shown: dict[str, list[Row]] = {}
        services: set[str] = set()

        def is_wanted(key: str, state: Mapping[str, Any]) -> bool:
            of_contact = wanted.has(state)
            shown[key] = _people(state) if of_contact else []
            services.update(filter(None, [state["service"]]))
            return of_contact or key in wanted.conversations

        self._scan(found, "conversations", is_wanted)
        named: _Named = {}
        for row in (row for key in conversations for row in shown[key]):
            if row.entity == "contacts":
                named.setdefault(row.id, set()).add(row.organization_id)
            else:
                found.rows[row.entity][row.id] = row
        sought, elsewhere = self._find_addresses(found, wanted, services, named)
        self._find_contacts(found, wanted.organization, named, sought, elsewhere)
        chosen = wanted.conversations | conversations.keys()
        self._scan(
            found,
            "messages",
            lambda key, state: key in wanted.messages or state["conversation_id"] in chosen or wanted.has(state),
        )
        for entity, ids in (("messages", wanted.messages), ("conversations", wanted.conversations)):
            for row_id in ids - found.rows[entity].keys():
                # Unknown rows too: one may be in transit, and must not arrive.
                found.rows[entity][row_id] = Row(entity, row_id, wanted.organization_id, found=False)
        return found

    def left(self, rows: Iterable[Row], gone: set[Row]) -> list[Row]:
        """Read new records, add rows whose state is a tombstone now to `gone`, and return the other rows.

        Rows that the states never had count as gone.
        """
        by_key: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            by_key.setdefault((row.entity, row.id), []).append(row)
        for entity, reader in self._readers.items():
            for message in reader.read(self._new(entity)):
                for row in by_key.get((entity, (message.key() or b"").decode("utf-8", "replace")), ()):
                    value = message.value()
                    if value is None or _is_deleted(row, value):
                        gone.add(row)
                    else:
                        gone.discard(row)
        return [row for row in rows if row.found and row not in gone]

    def _find_addresses(
        self, found: Found, wanted: Wanted, services: set[str], named: _Named
    ) -> tuple[set[str], _Named]:
        """Add addresses, whatever conversations show: live ones, or those found before; and their contacts.

        Returns all matching ones, and the contacts of the other ones. Matching ones that are deleted, or no longer of a
        contact, lead to their former contacts.
        """
        addresses = found.rows["contacts_addresses"]
        sought, elsewhere = set(addresses), _Named()
        for key, person in self._people(found, "contacts_addresses").items():
            of_it = wanted.has_address(key, services) or wanted.organization in person.organizations
            if of_it:
                sought.add(key)
            chosen = key in addresses or (of_it and person.live)
            if chosen:
                addresses[key] = Row("contacts_addresses", key, organization_in(key), found=person.live)
            if person.contact is not None and (chosen or person.live):
                (named if chosen else elsewhere).setdefault(person.contact, set()).add(organization_in(key))
        return sought, elsewhere

    def _find_contacts(
        self, found: Found, organization: str | None, named: _Named, sought: set[str], elsewhere: _Named
    ) -> None:
        """Add named contacts, those that only the addresses in `sought` lead to, and an organization's."""
        contacts = self._people(found, "contacts")
        for key, person in contacts.items():
            formerly = {organization_in(address) for address in person.followers & sought}
            # A contact with another address now is no longer the person with this one.
            led = formerly - elsewhere.get(key, set())
            if organization in person.organizations and person.is_live(organization):
                led.add(organization)
            if led:
                named.setdefault(key, set()).update(led)
        for key, organizations in named.items():
            person = contacts.get(key, people.Person(live=False, organizations=frozenset()))
            # Trap: any organization's address can name it, and a delete of another organization does not affect it.
            owners = organizations & person.organizations if person.organizations else organizations
            for owner in sorted(owners, key=str):
                found.contacts.append(Row("contacts", key, owner, found=person.is_live(owner)))

    def _people(self, found: Found, entity: str) -> dict[str, people.Person]:
        """Return all rows of a table, by their keys."""
        within = self._readers[entity].range()
        self._read[entity] = {partition: end for partition, (_, end) in within.items()}
        rows: dict[str, people.Person] = {}
        for message in self._readers[entity].read(within):
            key, value = (message.key() or b"").decode("utf-8", "replace"), message.value()
            rows.pop(key, None)
            if value is None:
                continue
            try:
                rows[key] = people.read(entity, key, value)
            except UnreadableRowError:
                found.unreadable += 1
        return rows

    def _new(self, entity: str) -> Range:
        ends = {partition: end for partition, (_, end) in self._readers[entity].range().items()}
        former, self._read[entity] = self._read.get(entity, {}), ends
        return {partition: (former.get(partition, 0), end) for partition, end in ends.items()}

    def _scan(self, found: Found, entity: str, is_wanted: Any) -> None:
        within = self._readers[entity].range()
        self._read[entity] = {partition: end for partition, (_, end) in within.items()}
        rows = found.rows[entity]
        for message in self._readers[entity].read(within):
            key = (message.key() or b"").decode("utf-8", "replace")
            value = message.value()
            if value is None:
                rows.pop(key, None)
                continue
            try:
                state = self._decoders[entity].decode(value)
            except CodecError:
                found.unreadable += 1
                continue
            if is_wanted(key, state):
                rows[key] = Row(
                    entity, key, state["organization_id"], state.get("conversation_id"), state.get("external_id")
                )
            else:
                rows.pop(key, None)


def _is_deleted(row: Row, value: bytes) -> bool:
    try:
        return row.entity in TABLES and not people.read(row.entity, row.id, value).is_live(row.organization_id)
    except UnreadableRowError:
        return False


def _people(state: Mapping[str, Any]) -> list[Row]:
    """Return the address of a conversation, and its contact."""
    organization, contact = state["organization_id"], state.get("contact")
    address = people.address_of(state)
    rows = [] if address is None else [Row("contacts_addresses", address, organization, found=False)]
    if contact is not None and contact["id"] is not None:
        rows.append(Row("contacts", contact["id"], organization, found=False))
    return rows
