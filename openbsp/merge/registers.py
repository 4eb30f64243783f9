"""Last-writer-wins registers: a value with the version of its row.

A whole row has a number of status keys, and OpenBSP never removes a key: of two whole rows the one with more keys was
committed later, whatever their instants are. A partial row, with changed columns only, does not give that number. So
the newest value of either kind is kept, and `shown` chooses which of the two counts.
"""

from collections.abc import Callable
from typing import Any, TypeVar

#: Text; instant (microseconds since the epoch), or `[instant, JSON text]` where the text has more; JSON text of a value
#: without a typed field; list of JSON texts; explicit null.
Value = str | int | list[Any] | bytes | None

#: `(keys, stamp, value)`: the number of status keys of the row, and its `stamp_of`.
# Trap: the value is a Value, but msgspec refuses unions of str and bytes; as Any it distinguishes them all the same.
Register = tuple[int, int, Any]
Registers = dict[str, Register]

#: The version of a row: `(keys, stamp)`.
Version = tuple[int, int]

T = TypeVar("T")
Ordered = TypeVar("Ordered", int, Version)

#: The time of a row or a message without one; before everything else.
NEVER = 1 - 2**63

#: The version of a value that replaces no other.
UNFIT: Version = (-1, -(2**63))

#: Of rows without a time. Even, as the last bit marks an update.
_UNDATED = 2 - 2**63

_RANK = {type(None): 0, int: 1, str: 2, bytes: 3}


def newer(a: Register, b: Register) -> Register:
    """Return the register that wins: the later version; on a tie the larger content, in any order of arrival."""
    if a[0] != b[0]:
        return a if a[0] > b[0] else b
    if a[1] != b[1]:
        return a if a[1] > b[1] else b
    return a if a[2] == b[2] or content_order(a[2]) >= content_order(b[2]) else b


def join(a: Registers, b: Registers) -> Registers:
    """Return the newer register of each name. Returns one of both if it equals the result."""
    return join_each(a, b, newer)


def join_each(a: dict[str, T], b: dict[str, T], join_two: Callable[[T, T], T]) -> dict[str, T]:
    """Merge two mappings, joining values that both have. Returns one of both if it equals the result."""
    if not b or a is b:
        return a
    if not a:
        return b
    joined = dict(a)
    for name, said in b.items():
        known = joined.get(name)
        if known is None:
            joined[name] = said
        elif known != said:
            joined[name] = join_two(known, said)
    return joined


def later(a: Ordered | None, b: Ordered | None) -> Ordered | None:
    """Return the larger of two, or the only one."""
    if a is None or b is None:
        return b if a is None else a
    return max(a, b)


def shown(whole: Register | None, partial: Register | None) -> Register | None:
    """Return the register that counts, of a whole and a partial row: the later instant.

    The latter on a tie: it is an update.
    """
    if partial is None:
        return whole
    if whole is None:
        return partial
    return partial if partial[1] >> 1 >= whole[1] >> 1 else whole


def shown_at(name: str, whole: Registers, partial: Registers) -> Register | None:
    """Return the register of a name that counts."""
    return shown(whole.get(name), partial[name]) if name in partial else whole.get(name)


def all_shown(whole: Registers, partial: Registers) -> Registers:
    """Return the registers that count."""
    if not partial:
        return whole
    found = dict(whole)
    for name, register in partial.items():
        known = found.get(name)
        found[name] = register if known is None or register[1] >> 1 >= known[1] >> 1 else known
    return found


def cut(registers: Registers, version: Version, kept: str) -> Registers:
    """Return the registers that are newer than a version, and `kept` whatever its version is."""
    return {name: register for name, register in registers.items() if name == kept or register[:2] > version}


def cut_status(status: Registers, version: Version) -> Registers:
    """Return the same of a status, with the names of all keys, so that they can be counted."""
    return {name: register if register[:2] > version else (*UNFIT, None) for name, register in status.items()}


def format_of(stored: bytes) -> int:
    """Return the number with which a stored array begins."""
    # Trap: the first member of an array of up to fifteen is in the second byte.
    return stored[3] if stored[0] == _ARRAY_16 else stored[1]


_ARRAY_16 = 0xDC


def content_order(value: Value) -> tuple[int, Any, bytes]:
    """Return a total order over values of different types: null, instants, text, JSON text, lists."""
    if type(value) is list:
        return (1, *value) if value and type(value[0]) is int else (4, value, b"")
    return _RANK[type(value)], 0 if value is None else value, b""


def stamp_of(fields: dict[str, Any]) -> int:
    """Return the age of an event's row: its instant, then whether it is an update."""
    at = fields["updated_at"]
    if at is None:
        at = fields["created_at"]
    stamp = _UNDATED if at is None else int(at) * 2
    return stamp + 1 if fields["action"] == "update" else stamp


def undated(at: int | None) -> int:
    """Return the stamp of an instant of which nothing more is known."""
    return _UNDATED if at is None or at <= NEVER else at * 2


def instant_of(stamp: int) -> int | None:
    """Return the instant of a row with that stamp, None if it says none."""
    return None if stamp <= _UNDATED + 1 else stamp >> 1


def text_of(register: Register | None) -> str | None:
    """Return the register's text, None if it has none or something else."""
    return register[2] if register is not None and type(register[2]) is str else None


def moment_of(register: Register | None) -> int | None:
    """Return the register's instant, None if it has none or something else."""
    value = None if register is None else register[2]
    if type(value) is list and value:
        value = value[0]
    return value if type(value) is int else None


def columns_of(event: dict[str, Any], names: tuple[str, ...], version: Version) -> Registers:
    """Return the registers of an event's columns; absent ones have none.

    An instant whose text has more than microseconds is in both `event` and its `extra`.
    """
    keys, stamp = version
    columns: Registers = {}
    for name in names:
        value = event[name]
        if value is not None:
            columns[name] = (keys, stamp, value)
    for name, text in event["extra"].items():
        known = columns.get(name)
        exact = text.encode()
        columns[name] = (keys, stamp, exact if known is None else [known[2], exact])
    for name in event["nulls"]:
        columns[name] = (keys, stamp, None)
    return columns


def fields_of(columns: Registers) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Return the typed fields, the `extra` and the sorted `nulls` of registers of columns."""
    fields: dict[str, Any] = {}
    extra: dict[str, str] = {}
    nulls: list[str] = []
    for name, (_, _, value) in columns.items():
        kind = type(value)
        if value is None:
            nulls.append(name)
        elif kind is bytes:
            extra[name] = value.decode()
        elif kind is list:
            fields[name] = value[0]
            extra[name] = value[1].decode()
        else:
            fields[name] = value
    nulls.sort()
    return fields, extra, nulls
