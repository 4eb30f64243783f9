"""The tables of docs/delivery.md: each case names a test that exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "delivery.md"
#: Where tests are whose file is not named; the page says so.
DEFAULT = ROOT / "tests" / "system" / "test_ingress_restarts.py"
FOLDERS = (ROOT, ROOT / "tests" / "integration")
NAMED = re.compile(r"`(?P<file>[\w/]+\.py)?(?:::)?(?P<test>test_\w+)?`")


def rows() -> Iterator[tuple[str, str]]:
    """Return what happens, and the cell with its tests, of each row of a table of cases."""
    header: list[str] = []
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            header = []
        elif not header:
            header = cells
        elif header[0] == "what happens" and not set(cells[0]) <= set("-"):
            yield cells[0], cells[-1] if header[-1] == "test" else ""


ROWS = list(rows())


def file_of(name: str) -> Path:
    found = [folder / name for folder in FOLDERS if (folder / name).is_file()]
    assert found, name
    return found[0]


def test_the_page_has_its_tables():
    assert len(ROWS) > 30


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[happening[:40] for happening, _ in ROWS])
def test_each_case_names_tests_that_exist(number: int):
    # A name without a file is in the file that was named last, in this row or before.
    file = DEFAULT
    for happening, cell in ROWS[: number + 1]:
        tests = 0
        for match in NAMED.finditer(cell):
            if match["file"]:
                file = file_of(match["file"])
            elif f"`::{match['test']}`" not in cell:
                file = DEFAULT
            if match["test"]:
                text = file.read_text("utf-8")
                assert re.search(rf"^(?:async )?def {match['test']}\(", text, re.MULTILINE), (happening, match["test"])
            tests += 1
        assert tests, f"{happening}: names no test"
