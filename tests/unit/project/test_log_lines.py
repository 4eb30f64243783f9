"""Every line that we log has an event, a name that stays when its words change."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
_LOGGERS = {"_log", "logger"}
_METHODS = {"debug", "info", "warning", "error", "critical", "exception"}
_SEVERE = {"error", "critical", "exception"}
_NAME = re.compile(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*(\.[a-z]+(_[a-z]+)*)?")


def _lines() -> Iterator[tuple[str, ast.Call]]:
    """Yield the calls that log, each with its file."""
    for package in ("avro", "openbsp", "bridge", "streams"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in _METHODS
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id in _LOGGERS
                ):
                    yield str(file.relative_to(ROOT)), node


def _names() -> list[str]:
    """Return the names in all calls of `event`."""
    return [
        node.args[0].value
        for package in ("openbsp", "bridge", "streams")
        for file in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "event"
        and isinstance(node.args[0], ast.Constant)
    ]


def test_every_line_has_an_event():
    without = Counter(file for file, call in _lines() if not any(word.arg == "extra" for word in call.keywords))
    assert dict(without) == {}, "give these lines `extra=event(...)`, see openbsp/log.py"


def test_events_have_names_of_a_part_and_what_happened():
    names = _names()
    assert names
    assert [name for name in names if not _NAME.fullmatch(name)] == []


def test_the_runbook_has_every_event_that_somebody_has_to_act_on():
    """Those of errors, and of the last words of a process."""
    runbook = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    severe = set()
    for _, call in _lines():
        extra = next((word.value for word in call.keywords if word.arg == "extra"), None)
        name = extra.args[0] if isinstance(extra, ast.Call) and extra.args else None
        if isinstance(call.func, ast.Attribute) and call.func.attr in _SEVERE and isinstance(name, ast.Constant):
            severe.add(str(name.value))
    assert severe
    assert [name for name in sorted(severe) if f"`{name}`" not in runbook] == []
