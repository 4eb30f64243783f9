"""The tables of docs/delivery.md: each case names tests that exist, one of which prints what it found."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "delivery.md"
#: Where tests are whose file is not named; the page says so.
DEFAULT = ROOT / "tests" / "system" / "test_ingress_restarts.py"
FOLDERS = (ROOT, ROOT / "tests" / "integration")
NAMED = re.compile(r"`(?P<file>[\w/]+\.py)?(?:::)?(?P<test>test_\w+)?`")


MATRIX = ROOT / "tests" / "system" / "test_delivery_matrix.py"
ALERTS = {
    rule["alert"]
    for file in (ROOT / "deploy" / "prometheus" / "rules").glob("*.yml")
    for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
    for rule in group["rules"]
}
#: The first cells of the runbook: alerts, events and messages.
RUNBOOK = "\n".join(
    line.split(" | ")[0]
    for line in (ROOT / "docs" / "runbook.md").read_text("utf-8").splitlines()
    if line.startswith("| ")
)


def rows(last: str = "test", place: int = -1) -> Iterator[tuple[str, str]]:
    """Return what happens, and the cell of a column, by default that with the tests, of each row of the cases."""
    header: list[str] = []
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            header = []
        elif not header:
            header = cells
        elif header[0] == "what happens" and not set(cells[0]) <= set("-"):
            yield cells[0], cells[place] if header[place] == last else ""


ROWS = list(rows())
#: Rows that are in the matrix, which prints what was lost in each of its cases.
PRINTED = {happening for happening, cell in rows("in the matrix", -2) if '"' in cell}


def file_of(name: str) -> Path:
    found = [folder / name for folder in FOLDERS if (folder / name).is_file()]
    assert found, name
    return found[0]


def test_the_page_has_its_tables():
    assert len(ROWS) > 30


def cited(number: int) -> Iterator[tuple[Path, str | None]]:
    """Return the file and the name of each test of a row; None: all of the file."""
    # A name without a file is in the file that was named last, in this row or before.
    file = DEFAULT
    for place, (_, cell) in enumerate(ROWS[: number + 1]):
        for match in NAMED.finditer(cell):
            if match["file"]:
                file = file_of(match["file"])
            elif f"`::{match['test']}`" not in cell:
                file = DEFAULT
            if place == number:
                yield file, match["test"]


@cache
def functions(file: Path) -> dict[str, set[str]]:
    """Return the names that each function and class of a file uses; `figure` is among them if it prints one."""
    found = {}
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            if any(figure(each) for each in ast.walk(node)):
                found[node.name].add("figure")
    return found


def figure(node: ast.AST) -> bool:
    """Return whether this prints a line that tests/conftest.py shows."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id != "print":
        return False
    texts = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return any(text.lstrip("\n").startswith("figure: ") for text in texts)


def prints(file: Path, test: str | None) -> bool:
    """Return whether a test, or what it uses of its file, prints a figure."""
    used = functions(file)
    waiting = [test] if test else [name for name in used if name.startswith("test_")]
    seen: set[str] = set()
    while waiting:
        if (name := waiting.pop()) not in seen:
            seen.add(name)
            waiting += used.get(name, ())
    return "figure" in seen


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[happening[:40] for happening, _ in ROWS])
def test_each_case_names_tests_that_exist_and_one_of_them_prints_what_it_found(number: int):
    happening = ROWS[number][0]
    tests = list(cited(number))
    assert tests, f"{happening}: names no test"
    for file, test in tests:
        assert test is None or test in functions(file), (happening, test)
    assert happening in PRINTED or any(prints(file, test) for file, test in tests), (
        f"{happening}: no test prints a figure"
    )


def cases() -> list[str]:
    """Return the names of the cases of the matrix."""
    for node in ast.parse(MATRIX.read_text("utf-8")).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "CASES":
            assert isinstance(node.value, ast.Dict)
            return [str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)]
    raise AssertionError("the matrix has no cases")


def test_each_row_is_in_the_matrix_and_each_case_of_the_matrix_is_on_the_page():
    page, names = PAGE.read_text("utf-8"), cases()
    for happening, cell in rows("in the matrix", -2):
        named = re.findall(r'"([^"]+)"', cell)
        assert named, f"{happening}: is not in the matrix: {cell!r}"
        for name in named:
            assert any(case.startswith(name) for case in names), f"{happening}: the matrix has no case {name!r}"
    told = re.findall(r'"([^"]+)"', page)
    assert [case for case in names if not any(case.startswith(name) for name in told)] == []


def test_each_row_names_what_the_runbook_says_about_it_and_an_alert_or_why_there_is_none():
    cells = dict(rows("in the runbook", -3))
    assert len(cells) == len(ROWS)
    for happening, cell in cells.items():
        names = re.findall(r"`([^`]+)`", cell)
        assert names or re.match(r"nothing: \w", cell), f"{happening}: what is the operator to do? {cell!r}"
        assert [name for name in names if name not in RUNBOOK] == [], f"{happening}: not in the runbook"
        alerts = {name for name in names if re.fullmatch("(Bridge|Streams|Reconcile|Completeness)[A-Z][A-Za-z]+", name)}
        assert alerts <= ALERTS, f"{happening}: {alerts - ALERTS}"
        assert not names or alerts or re.search(r"; no alert: \w", cell), f"{happening}: has no alert, and not why"


def test_what_an_alert_is_called_in_the_runbook_is_its_name():
    named = set(re.findall(r"`((?:Bridge|Streams|Reconcile|Completeness)[A-Z][A-Za-z]+)`", RUNBOOK))
    assert named == ALERTS
