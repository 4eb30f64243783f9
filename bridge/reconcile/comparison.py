"""The common facts of an OpenBSP row and its state, and whether they are equal. Pure.

Columns and the members of a status are compared by digests, so that the states of many rows fit into an index.
"""

from collections.abc import Mapping
from enum import Enum
from hashlib import blake2b
from typing import Any, NamedTuple

from avro.columns import Entity, Kind
from avro.rows import Row, to_fields

#: Bytes of a digest. Two different values collide once in 2.8e14 comparisons.
DIGEST_BYTES = 6
#: Names of the members of a status begin with this; no column of OpenBSP has a dot in its name.
_MEMBER = "status."
_STATUS = "status"
_NULL = "null"


class Facts(NamedTuple):
    """The compared facts of a row.

    `keys` are the members of its status that are not null, `named` those with null as well. `stamp` is its
    `updated_at`, else `created_at`, in microseconds since the epoch, -1 if it has neither.
    """

    keys: int
    named: int
    stamp: int
    columns: Mapping[str, bytes]


class Verdict(Enum):
    """The state of a row, compared with it."""

    EQUAL = "equal"
    #: There is no state of it.
    MISSING = "missing"
    DIFFERENT = "different"
    #: The state has a newer version of the row than the one read.
    AHEAD = "ahead"


def of_row(entity: Entity, row: Row) -> Facts:
    """Return the facts of a row as the platform has it."""
    return of_fields(entity, to_fields(entity, row))


def of_fields(entity: Entity, fields: Mapping[str, Any]) -> Facts:
    """Return the facts of an event's or a state's fields."""
    columns: dict[str, bytes] = {}
    for name, kind in entity.columns.items():
        value = fields.get(name)
        if value is not None and name != "id" and kind is not Kind.STATUS:
            columns[name] = digest(b"i", str(value)) if kind is Kind.INSTANT else digest(b"t", value)
    for name, text in fields["extra"].items():
        # Also of an instant whose text has more than its field.
        columns[name] = digest(b"j", text)
    for name in fields["nulls"]:
        columns[name] = digest(b"n", "")
    members, named = _members(fields) if entity.columns.get(_STATUS) is Kind.STATUS else ({}, 0)
    at = fields.get("updated_at")
    if at is None:
        at = fields.get("created_at")
    return Facts(len(members), named, -1 if at is None else at, columns | members)


def _members(fields: Mapping[str, Any]) -> tuple[dict[str, bytes], int]:
    moments, texts = fields.get(_STATUS) or {}, fields.get("status_extra") or {}
    errors = fields.get("errors")
    # Trap: in a state, a member that is no instant has that of its row besides its text.
    found = {_MEMBER + key: digest(b"i", str(at)) for key, at in moments.items() if key not in texts}
    found |= {_MEMBER + key: digest(b"j", text) for key, text in texts.items() if text != _NULL}
    if errors is not None:
        found[_MEMBER + "errors"] = digest(b"l", "\0".join(errors))
    return found, len(found) + sum(text == _NULL for text in texts.values())


def digest(kind: bytes, text: str) -> bytes:
    """Return the digest of a value: values of different types never share one."""
    return blake2b(kind + text.encode(), digest_size=DIGEST_BYTES).digest()


def compare(row: Facts, state: Facts | None) -> tuple[Verdict, list[str]]:
    """Return the verdict, and the names of the columns and status members that differ.

    A column that the row does not have is not compared: publishing the row would not change it. A status member that
    only the state has differs, because OpenBSP never takes one away.
    """
    if state is None:
        return Verdict.MISSING, []
    differing = [
        name
        for name, said in row.columns.items()
        # Trap: a row whose status is null, or no object, does not change known members.
        if state.columns.get(name) != said and not (name == _STATUS and row.named == 0 and state.keys)
    ]
    differing += [name for name in state.columns if name.startswith(_MEMBER) and name not in row.columns]
    if not differing:
        return Verdict.EQUAL, []
    differing.sort()
    # The state's members with null are unknown, so it may be newer than this shows; never older.
    ahead = (state.keys, state.stamp) > (row.named, row.stamp)
    return (Verdict.AHEAD if ahead else Verdict.DIFFERENT), differing
