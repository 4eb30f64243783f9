"""A worker goes only the ways that the table of states has; join.md shows the same table."""

from pathlib import Path

import pytest

from streams.engine import lifecycle
from streams.engine.lifecycle import TRANSITIONS, Lifecycle, State

WAYS = [(a, b) for a in State for b in State]


@pytest.mark.parametrize(("a", "b"), WAYS, ids=lambda state: state.value)
def test_only_the_ways_of_the_table_can_be_gone(a, b):
    worker = Lifecycle()
    worker.state = a
    if b in TRANSITIONS[a]:
        worker.to(b)
        assert worker.state is b
    else:
        with pytest.raises(AssertionError, match="cannot go"):
            worker.to(b)
        assert worker.state is a


def rows(text: str) -> set[tuple[str, ...]]:
    table = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return {tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table}


def test_the_documented_tables_are_the_code():
    documented = rows(lifecycle.__doc__)
    ways = {(row[0], row[2]) for row in documented if row[0] != "state"}
    assert ways == {(a.value, b.value) for a, targets in TRANSITIONS.items() for b in targets}
    page = Path(__file__).parents[4] / "docs" / "join.md"
    assert documented <= rows(page.read_text("utf-8"))
