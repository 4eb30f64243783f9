"""docs/faust.md: the version is the pinned one, and each test that it names is there."""

import re
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "faust.md").read_text("utf-8")


def test_it_speaks_of_the_faust_that_is_installed():
    assert f"faust-streaming {version('faust-streaming')}" in PAGE


def test_the_tests_that_it_names_are_there():
    named = set(re.findall(r"`(test_\w+\.py)`", PAGE))
    there = {file.name for file in (ROOT / "tests").rglob("test_*.py")}
    assert named
    assert named - there == set()


def test_each_trap_has_a_place_an_answer_and_a_test():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| trap")]
    assert len(rows) > 25
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 4
        assert all(cells), row
