"""Records that cannot be used: each becomes a dead letter with its reason, and whatever follows goes on.

Those with a key of DEADLY end each worker that reads them, until they are set aside.
"""

from collections.abc import Callable
from typing import Any

from avro import instants, writers
from support import wire
from support.join import IDS
from support.join_cases import inserted

#: Keys of records that end a worker: one with an exception, one at once.
RAISES, CRASHES = "raises", "crashes"
DEADLY = (RAISES, CRASHES)
ENDS_WORKER = "ends_worker"

#: Key, value and headers of a record.
Parts = tuple[bytes | None, bytes | None, Any]

_KEY = "poison"
_Made = Callable[[], Parts]


def _event() -> bytes:
    return wire.event_bytes(inserted(_KEY, "c0", "incoming", 1))


def _out_of_range() -> Parts:
    fields = wire.event_fields(inserted(_KEY, "c0", "incoming", 1))
    return _KEY.encode(), wire.Wire("MessageEvent").encode(fields | {"timestamp": instants.LAST + 1}), None


def _of(value: bytes | None, key: bytes | None = _KEY.encode(), headers: Any = None) -> _Made:
    return lambda: (key, value, headers)


#: Kind to the topic, the reason of the dead letter, and what makes the record.
KINDS: dict[str, tuple[str, str, _Made]] = {
    "no wire format": ("messages", "not_wire_format", _of(b"{}")),
    "no such schema": ("conversations", "unknown_schema", _of(b"\0\0\x0f\xff\xff\0")),
    "a schema of another record": (
        "conversations",
        "wrong_subject",
        _of(b"\0" + IDS["MessageState"].to_bytes(4) + b"\0"),
    ),
    "nothing behind its schema": ("contacts", "undecodable", _of(b"\0" + IDS["ContactEvent"].to_bytes(4))),
    "the year 10000": ("messages", "out_of_range", _out_of_range),
    "no key": ("messages", "no_key", lambda: (None, _event(), None)),
    "a key that is no text": ("messages", "bad_key", lambda: (b"\xff", _event(), None)),
    "the key of another row": ("messages", "key_mismatch", lambda: (b"m0", _event(), None)),
    "a writer for nobody": ("messages", "bad_header", lambda: (_KEY.encode(), _event(), [(writers.NAME, b"")])),
    "a writer for another": (
        "messages",
        "bad_header",
        lambda: (_KEY.encode(), _event(), [writers.header_of(["evil"])]),
    ),
    "no contribution": ("streams-contributions", "undecodable", _of(b"\x94")),
    "a contribution of nothing": ("streams-contributions", "undecodable", _of(None)),
}
