"""Deterministic identities: the same event, and the same status change, has the same id wherever it appears."""

from hashlib import sha1
from uuid import UUID, uuid5

#: The project's UUIDv5 name space. It never changes: consumers deduplicate by ids made from it.
NAMESPACE = uuid5(UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8"), "openbsp-stream-bridge")
_NAMESPACE_BYTES = NAMESPACE.bytes
#: A hexadecimal digit with the two bits that say RFC 9562.
_VARIANT = {f"{digit:x}": f"{digit & 0x3 | 0x8:x}" for digit in range(16)}


def name_id(name: bytes) -> str:
    """Return the UUIDv5 (RFC 9562) of `name` in the project's name space, as text."""
    # Trap: uuid.uuid5 takes text before Python 3.12 and costs three times as much; this runs for each event.
    text = sha1(_NAMESPACE_BYTES + name, usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def event_id(entity: str, action: str, canonical_data: bytes) -> str:
    """Return the id of an event: over entity, action and the canonical JSON of `data` (`jsontext.encode`)."""
    return name_id(b"%b\n%b\n%b" % (entity.encode(), action.encode(), canonical_data))


def status_change_id(message_id: str, status: str) -> str:
    """Return the id of the fact that a message has a status. Depends on neither time nor order."""
    return name_id(b"status-change\n" + _pair(message_id, status))


def status_change_event_id(message_id: str, status: str, *, conversation_known: bool) -> str:
    """Return the id of the event of that fact, with its conversation or without: two events of one fact."""
    return name_id(b"status-change event\n%d\n%b" % (conversation_known, _pair(message_id, status)))


def _pair(message_id: str, status: str) -> bytes:
    key = status.encode()
    # Both are opaque texts: with the length in front no two pairs give the same name.
    return b"%d\n%b\n%b" % (len(key), key, message_id.encode())
