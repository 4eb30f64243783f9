"""Last-writer-wins registers: a value with the version (an instant) at which it was written."""

from typing import Any

#: Text, instant (microseconds since the epoch), JSON text of a column without a typed field, explicit null.
Value = str | int | bytes | None

#: `(version, value)`. The version is the row's `updated_at`, else `created_at`, else NEVER.
# Trap: the value is a Value, but msgspec refuses unions of str and bytes; as Any it reads them apart all the same.
Register = tuple[int, Any]

#: The version of a row that says nothing about its age, and the time of a message that says nothing about its own.
NEVER = 1 - 2**63

#: The version of a value that overrules no other.
UNFIT = NEVER - 1

_RANK = {type(None): 0, int: 1, str: 2, bytes: 3}


def newer(a: Register, b: Register) -> Register:
    """Return the register that wins: the later version; on a tie the larger content, whichever came first."""
    if a[0] != b[0]:
        return a if a[0] > b[0] else b
    return a if content_order(a[1]) >= content_order(b[1]) else b


def content_order(value: Value) -> tuple[int, Any]:
    """Return a total order over values of different types."""
    return (_RANK[type(value)], 0 if value is None else value)


def version_of(fields: dict[str, Any]) -> int:
    """Return the version of an event's row."""
    version = fields["updated_at"]
    if version is None:
        version = fields["created_at"]
    return NEVER if version is None else int(version)
