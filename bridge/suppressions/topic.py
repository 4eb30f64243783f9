"""The topic of the list: a key is the hash of a contact, a value has its time, a tombstone lifts it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from avro.catalogue import topic_name
from bridge.cluster import Cluster
from bridge.suppressions.hashes import Contact, key_id, row_hash
from openbsp.kafka.writing import write_one

TOPIC = "suppressions"


@dataclass(frozen=True, slots=True)
class Entry:
    """A suppressed contact. It does not reveal the person."""

    hash: str
    since: str
    service: str | None
    organization_id: str | None
    #: Of a row of contacts: the hash of the contact with which it was erased, and is lifted.
    erased_with: str | None = None
    #: Of the key that made it; None of an entry of a former version, which does not say.
    key_id: str | None = None


def add(cluster: Cluster, key: bytes, contact: Contact) -> str:
    """Suppress a contact; return its hash. Raises KafkaUnavailableError."""
    return _write(cluster, contact.hash(key), _value(key, contact))


def suppress_rows(cluster: Cluster, key: bytes, contact: Contact, rows: Iterable[tuple[str, str | None]]) -> None:
    """Suppress the rows of contacts that had the address of a contact: they have a name.

    `rows` are their ids and organizations. An update that names no organization is suppressed as well. Raises
    KafkaUnavailableError.
    """
    value = _value(key, contact, erased_with=contact.hash(key))
    for entry in {row_hash(key, row_id, of): None for row_id, owner in rows for of in (owner, None)}:
        _write(cluster, entry, value)


def lift(cluster: Cluster, key: bytes, contact: Contact) -> bool:
    """Lift a contact's suppression; return whether there was one. Raises KafkaUnavailableError, TopicsError."""
    named, found = contact.hash(key), entries(cluster)
    for entry in found:
        if entry.erased_with == named:
            _write(cluster, entry.hash, None)
    was = named in {entry.hash for entry in found}
    if was:
        _write(cluster, named, None)
    return was


def entries(cluster: Cluster) -> list[Entry]:
    """Return the list, oldest first. Raises KafkaUnavailableError, TopicsError."""
    found: dict[str, Entry] = {}
    with cluster.reader(TOPIC) as reader:
        for message in reader.read(reader.range()):
            key, value = (message.key() or b"").decode("utf-8", "replace"), message.value()
            found.pop(key, None)
            if value is not None:
                found[key] = _entry(key, value)
    return sorted(found.values(), key=lambda entry: entry.since)


def _entry(key: str, value: bytes) -> Entry:
    try:
        content = json.loads(value)
        return Entry(
            key,
            str(content["since"]),
            content.get("service"),
            content.get("organization_id"),
            content.get("erased_with"),
            content.get("key_id"),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        # Whatever its value: the bridge refuses the contact of the key.
        return Entry(key, "unknown", None, None)


def _value(key: bytes, contact: Contact, **more: str) -> bytes:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    told = {"since": since, "service": contact.service, "organization_id": contact.organization_id}
    return json.dumps({**told, "key_id": key_id(key), **more}).encode()


def _write(cluster: Cluster, entry: str, value: bytes | None) -> str:
    write_one(
        cluster.kafka,
        topic_name(cluster.topics.prefix, TOPIC),
        entry.encode(),
        value,
        [("content-type", b"application/json")],
    )
    return entry


def changes(messages: Iterator[tuple[bytes | None, bytes | None]]) -> dict[str, str | None]:
    """Return the hashes that records add, with the id of the key ("": unknown), or lift (None)."""
    found: dict[str, str | None] = {}
    for key, value in messages:
        entry = (key or b"").decode("utf-8", "replace")
        found[entry] = None if value is None else str(_entry(entry, value).key_id or "")
    return found
