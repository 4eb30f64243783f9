"""Searches all topics for data of erased rows: what stays, and what will be removed by date."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from confluent_kafka import Message

from avro.catalogue import DELETE, TOPICS
from avro.codec import CodecError
from bridge.cluster import Cluster
from bridge.contact_tables import ENTITIES, TABLES, UnreadableRowError
from bridge.erase import people
from bridge.erase.sought import Sought
from openbsp.errors import TopicsError
from openbsp.kafka.reading import ValueReader

COMPACT = "compact"
_ADDRESSES = TABLES["contacts_addresses"]


class Kind(Enum):
    """What a record has of the rows."""

    #: Their content, or a part of it.
    CONTENT = "content"
    #: Unknown: a value of a changelog, or a conversation that shows an erased contact, without its name, and stays.
    #: The newest of them have ids; former ones had content.
    OPAQUE = "opaque"
    #: Ids only: a delete, a tombstone.
    IDS = "ids"
    #: Another row's text, which contains the address.
    MENTION = "mention"


@dataclass(slots=True)
class Trace:
    """What a topic has of the rows."""

    #: Records with content that is removed by date, and the moment from which that is counted (milliseconds since the
    #: epoch, of the broker's clock): in a compacted topic, when they were superseded.
    former: int = 0
    since_ms: int = -1
    #: Positions of content that is never superseded, as `topic:partition:offset`.
    live: list[str] = field(default_factory=list)
    ids: int = 0
    mentions: int = 0
    #: Undecodable values: their person is unknown.
    unreadable: int = 0
    #: The positions of `former`, of dead letters.
    positions: list[str] = field(default_factory=list)

    @property
    def content(self) -> int:
        """How many records have content of the rows."""
        return self.former + len(self.live)

    def expires(self, at_ms: int) -> None:
        """Count a record that is removed by date, counted from this moment."""
        self.former += 1
        self.since_ms = max(self.since_ms, at_ms)


def search(cluster: Cluster, sought: Sought) -> Mapping[str, Trace]:
    """Read all topics to their ends, and return the trace in each, by catalogue name; none of a missing topic.

    Raises KafkaUnavailableError, RegistryError.
    """
    found = {}
    if sought.owners:
        with contextlib.suppress(TopicsError), cluster.reader(_ADDRESSES) as reader:
            sought = replace(sought, names=service_names(reader.read(reader.range()), sought))
    for name in TOPICS:
        try:
            with cluster.reader(name) as reader:
                records = reader.read(reader.range())
                found[name] = trace(name, records, cluster.values(name), sought)
        except TopicsError:
            continue
    return found


def service_names(records: Iterator[Message], sought: Sought) -> dict[str, str | None]:
    """Return the names at the service of an erased contact's addresses, by the ids of these."""
    names: dict[str, str | None] = {}
    for message in records:
        key, value = (message.key() or b"").decode("utf-8", "replace"), message.value()
        names.pop(key, None)
        with contextlib.suppress(UnreadableRowError):  # it is counted where the topic is searched
            person = None if value is None else people.read("contacts_addresses", key, value)
            if person is not None and person.contact in sought.owners:
                names[key] = person.name or None
    return names


def trace(name: str, records: Iterator[Message], values: ValueReader | None, sought: Sought) -> Trace:
    """Return the trace in a topic's records, read from its beginning, those of one key in their order."""
    found = Trace()
    compacted = TOPICS[name].cleanup_policy == COMPACT
    latest: dict[bytes, tuple[Kind, str]] = {}
    for message in records:
        key, at_ms = message.key() or b"", message.timestamp()[1]
        position = f"{message.topic()}:{message.partition()}:{message.offset()}"
        kind = _kind(found, name, message, values, sought)
        if compacted:
            before = latest.pop(key, None)
            if before is not None and before[0] in {Kind.CONTENT, Kind.OPAQUE}:
                found.expires(at_ms)
            if kind is not None:
                latest[key] = kind, position
        elif kind is Kind.CONTENT:
            found.expires(at_ms)
            if name == "dead-letters":
                found.positions.append(position)
        else:
            _count(found, kind)
    for kind, position in latest.values():
        if kind is Kind.CONTENT:
            found.live.append(position)
        else:
            _count(found, kind)
    return found


def _count(found: Trace, kind: Kind | None) -> None:
    if kind is Kind.MENTION:
        found.mentions += 1
    elif kind is not None:
        found.ids += 1


def _kind(found: Trace, name: str, message: Message, values: ValueReader | None, sought: Sought) -> Kind | None:
    own, value = sought.has_key(message.key() or b""), message.value()
    if value is None:
        return Kind.IDS if own else None
    if values is None:
        return _of_internal(found, name, message.key() or b"", value, sought)
    try:
        fields = values.decode(value)
    except CodecError:
        found.unreadable += 1
        return Kind.CONTENT if own or sought.needles.within(value) else None
    if sought.is_of(fields) or _is_of_person(name, fields, value, sought):
        return Kind.IDS if fields.get("action") == DELETE and name != "dead-letters" else Kind.CONTENT
    if sought.shows(fields):
        return Kind.CONTENT if sought.names_one(fields) else Kind.OPAQUE
    return Kind.MENTION if sought.texts.within(value) else None


def _of_table(found: Trace, entity: str, key: bytes, value: bytes, sought: Sought) -> Kind | None:
    """Return what a row of the tables of contacts has: it can be read, so that what stays in it is known."""
    name = key.decode("utf-8", "replace")
    try:
        person = people.read(entity, name, value)
    except UnreadableRowError:
        found.unreadable += 1
        return Kind.CONTENT if sought.has_key(key) or sought.needles.within(value) else None
    erased = set(sought.owners.get(name, ())) if entity == "contacts" else set()
    if sought.wanted.organization in person.organizations:
        erased.add(sought.wanted.organization)
    if erased:
        return Kind.CONTENT if any(map(person.is_live, erased)) else Kind.IDS
    if name in sought.ids or sought.wanted.has_address(name):
        return Kind.CONTENT if person.live else Kind.IDS
    return Kind.OPAQUE if sought.contacts.within(value) else None


def _of_internal(found: Trace, name: str, key: bytes, value: bytes, sought: Sought) -> Kind | None:
    if name in ENTITIES:
        return _of_table(found, ENTITIES[name], key, value, sought)
    own = sought.has_key(key)
    if TOPICS[name].cleanup_policy != COMPACT:
        return Kind.CONTENT if own or sought.needles.within(value) else None
    if not own and sought.contacts.within(value):
        return Kind.OPAQUE
    if not own:
        return Kind.MENTION if sought.texts.within(value) else None
    return Kind.CONTENT if sought.texts.within(value) else Kind.OPAQUE


def _is_of_person(name: str, fields: Mapping[str, Any], value: bytes, sought: Sought) -> bool:
    """Return whether a record is of the contact or organization, of a row unknown to the erasure."""
    if name.endswith("-state") or name == "contacts-addresses":
        return sought.wanted.has(fields)
    return name == "dead-letters" and fields["payload"] is not None and sought.needles.within(value)
