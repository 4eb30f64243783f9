"""What the table of a new owner takes for merged before: what was there at the takeover, before the mark."""

from unittest.mock import Mock

import pytest

from streams.engine.assignment import Assignment
from streams.engine.engine import own_tables
from streams.engine.outside import Clock
from streams.engine.source import Record
from streams.engine.stores.memory import MemoryStore
from streams.engine.table import OwnedTable, TableSpec

MARK = 100


@pytest.mark.parametrize(
    ("end", "seen"),
    [(2_000, MARK), (MARK, MARK), (3, 3)],
    ids=["with news", "all of it merged", "created again since"],
)
def test_an_event_may_have_been_merged_before_if_it_is_before_the_mark_and_was_there(end: int, seen: int) -> None:
    """A topic that was created again has the offsets of the former one once more, and its mark stays for good."""
    store = MemoryStore()
    store.save_mark(MARK)
    work = Assignment(
        Mock(),
        Clock(),
        sources=["words"],
        partitions=[0],
        positions={},
        ends={("words", 0): end},
        coalesce_ms=0,
        in_flight_records=1,
        in_flight_s=1.0,
    )
    tables = {"counts": OwnedTable(TableSpec(source="words", changelog="counts"))}
    own_tables(work, tables, {("counts", 0): store}, str, Mock())
    rows = tables["counts"].rows[0]
    assert [rows.seen(Record("words", 0, offset, b"k", b"v")) for offset in (0, seen - 1, seen)] == [True, True, False]
