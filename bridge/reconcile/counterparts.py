"""What the rows of each entity are compared with, and which columns are compared.

Messages and conversations have state topics, with every column. Contacts and their addresses have none: the tables of
the workers are read from their changelogs. Those have what conversations show, and the instant of the newest merged
row; so a missed change to another column shows as an older instant.
"""

from collections.abc import Iterable, Mapping

from avro.catalogue import ENTITIES
from avro.rows import Row, organization_in, to_fields
from bridge import tables
from bridge.cluster import STATE_TOPICS
from bridge.reconcile import comparison, names
from bridge.reconcile.comparison import Facts
from bridge.reconcile.errors import ReconcileError
from bridge.reconcile.index import State
from bridge.tables import TABLES, Address, Contact, Register, UnreadableRowError

#: The topic with the known data of each entity's rows; in the order in which rows are deleted.
COUNTERPARTS: Mapping[str, str] = {**STATE_TOPICS, **TABLES}

#: These are those of `streams.state.contact` and of the modules that it builds on.
_NAME_CHARACTERS = 280
_KEY_BYTES = 1024
_UNDATED = 2 - 2**63

_OWNER = "organization_id"
#: Of a deleted row: later events of it stay out.
_FINAL = 2**62


def of_row(entity: str, row: Row) -> Facts:
    """Return the facts of a row as the platform has it."""
    if entity not in TABLES:
        return comparison.of_row(ENTITIES[entity], row)
    fields = to_fields(ENTITIES[entity], row)
    at = fields.get("updated_at")
    if at is None:
        at = fields.get("created_at")
    if entity == names.ADDRESSES:
        contact, extra = row.get("contact_id"), row.get("extra")
        shown = {"contact_id": contact if type(contact) is str and 0 < len(contact.encode()) <= _KEY_BYTES else None}
        shown["extra.name"] = _name(extra.get("name") if type(extra) is dict else None)
    else:
        shown = {"name": _name(row.get("name")), _OWNER: row.get(_OWNER)}
    return _facts(shown, -1 if at is None else at)


def _name(value: object) -> str | None:
    return value[:_NAME_CHARACTERS] if isinstance(value, str) else None


def _facts(shown: Mapping[str, str | None], stamp: int) -> Facts:
    columns = {name: comparison.digest(b"n" if text is None else b"t", text or "") for name, text in shown.items()}
    return Facts(0, 0, stamp, {**columns, "updated_at": comparison.digest(b"i", str(stamp))})


def state_of(entity: str, key: str, value: bytes) -> State | None:
    """Return the state in a record of a table's changelog; None if it is of no row.

    Raises ReconcileError if it is no row of a known version.
    """
    if not key:
        # The table's progress.
        return None
    try:
        if entity == names.ADDRESSES:
            return _address(key, tables.address_row(value).facts)
        return _contact(key, tables.contact_row(value).facts)
    except UnreadableRowError as error:
        raise ReconcileError(f"{TABLES[entity]}: {error}") from None


def _address(key: str, facts: Address) -> State:
    if facts.newest is None or not facts.live:
        return State(key, cut=None if facts.cut is None else facts.cut >> 1)
    columns = {"contact_id": "contact_id", "extra.name": "extra"}
    shown = {name: tables.text_in(facts.columns, column) for name, column in columns.items()}
    return State(key, _facts(shown, _instant(facts.newest)), organization_in(key))


def _contact(key: str, facts: Contact) -> State:
    """Return the facts of its owner's writers: of trusted ones, and of its claims."""
    claims = facts.claims
    owner = (
        tables.text_in(facts.columns, _OWNER)
        or min(((at, writer) for writer, (at, _) in claims.items() if at is not None), default=(0, None))[1]
    )
    said = [facts, *(told for writer, (_, told) in claims.items() if owner in tables.organizations_of(writer))]
    named = {name for each in said for name in each.organizations}
    if any(name is None or name in named or not named for each in said for name in each.deletes):
        return State(key, cut=_FINAL)
    registers = [register for each in said for register in each.columns.values()]
    if not registers:
        return State(key)
    shown = {"name": _newest(each.columns.get("name") for each in said), _OWNER: owner}
    return State(key, _facts(shown, _instant(max(stamp for _, stamp, _ in registers))), owner)


def _newest(registers: Iterable[Register | None]) -> str | None:
    found = [register for register in registers if register is not None]
    return max(found, key=lambda each: (*each[:2], each[2] is not None, each[2] or ""))[2] if found else None


def _instant(stamp: int) -> int:
    return -1 if stamp <= _UNDATED + 1 else stamp >> 1
