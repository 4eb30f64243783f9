"""What the rows of each entity are compared with, and which columns are compared.

Messages and conversations have state topics, with every column. Contacts and their addresses have none: the tables of
the workers are read from their changelogs. Those have what conversations show, and the instant of the newest merged
row; so a missed change to another column shows as an older instant.
"""

from collections.abc import Mapping

from avro.columns import ENTITIES
from avro.rows import Row, organization_in, to_fields
from bridge import contact_tables
from bridge.cluster import STATE_TOPICS
from bridge.contact_tables import TABLES, UnreadableRowError
from bridge.reconcile import comparison, names
from bridge.reconcile.comparison import Facts
from bridge.reconcile.errors import ReconcileError
from bridge.reconcile.index import State
from openbsp.merge.contact import (
    ADDRESS_COLUMNS,
    CONTACT,
    CONTACT_COLUMNS,
    EXTRA,
    NAME,
    OWNER,
    AddressFacts,
    ContactFacts,
    columns_of,
    counting_for,
    is_known,
    owner_of,
)
from openbsp.merge.deletion import is_deleted
from openbsp.merge.registers import Registers, instant_of, stamp_of, text_of

#: The topic with the known data of each entity's rows; in the order in which rows are deleted.
COUNTERPARTS: Mapping[str, str] = {**STATE_TOPICS, **TABLES}

#: Of a deleted row: later events of it stay out.
_FINAL = 2**62


def of_row(entity: str, row: Row) -> Facts:
    """Return the facts of a row as the platform has it."""
    if entity not in TABLES:
        return comparison.of_row(ENTITIES[entity], row)
    event = {"updated_at": None, "created_at": None, **to_fields(ENTITIES[entity], row), "action": "insert"}
    if entity == names.ADDRESSES:
        return _facts(_shown_of_address(columns_of(event, ADDRESS_COLUMNS)), stamp_of(event))
    columns = columns_of(event, CONTACT_COLUMNS)
    return _facts(_shown_of_contact(columns, text_of(columns.get(OWNER))), stamp_of(event))


def _shown_of_address(columns: Registers) -> dict[str, str | None]:
    return {"contact_id": text_of(columns.get(CONTACT)), "extra.name": text_of(columns.get(EXTRA))}


def _shown_of_contact(columns: Registers, owner: str | None) -> dict[str, str | None]:
    return {"name": text_of(columns.get(NAME)), "organization_id": owner}


def _facts(shown: Mapping[str, str | None], stamp: int) -> Facts:
    at = instant_of(stamp)
    at = -1 if at is None else at
    columns = {name: comparison.digest(b"n" if text is None else b"t", text or "") for name, text in shown.items()}
    return Facts(0, 0, at, {**columns, "updated_at": comparison.digest(b"i", str(at))})


def state_of(entity: str, key: str, value: bytes) -> State | None:
    """Return the state in a record of a table's changelog; None if it is of no row.

    Raises ReconcileError if it is no row of a known version.
    """
    if not key:
        # The table's progress.
        return None
    try:
        if entity == names.ADDRESSES:
            return _address(key, contact_tables.address_row(value).facts)
        return _contact(key, contact_tables.contact_row(value).facts)
    except UnreadableRowError as error:
        raise ReconcileError(f"{TABLES[entity]}: {error}") from None


def _address(key: str, facts: AddressFacts) -> State:
    if facts.newest is None or not is_known(facts):
        return State(key, cut=None if facts.cut is None else facts.cut >> 1)
    return State(key, _facts(_shown_of_address(facts.columns), facts.newest), organization_in(key))


def _contact(key: str, facts: ContactFacts) -> State:
    """Return the facts of its owner's writers: of trusted ones, and of its claims."""
    owner = owner_of(facts)
    found = counting_for(facts, owner)
    if is_deleted(found.deletes, found.organizations):
        return State(key, cut=_FINAL)
    if not found.columns:
        return State(key)
    newest = max(stamp for _, stamp, _ in found.columns.values())
    return State(key, _facts(_shown_of_contact(found.columns, owner), newest), owner)
