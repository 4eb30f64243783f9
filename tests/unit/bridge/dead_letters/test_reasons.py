"""Every reason that a dead letter can have is explained."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from bridge.dead_letters.reasons import EXPLANATIONS, explain
from bridge.delivery.drain import BROKER_REFUSED, SPOOL_AGE_LIMIT
from bridge.http import refusals
from openbsp.http.refusals import TOO_LARGE

ROOT = Path(__file__).parents[4]


def calls(name: str, *packages: str) -> Iterator[ast.Call]:
    for package in packages:
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                    yield node


def codes(name: str, *packages: str) -> set[str]:
    return {call.args[0].value for call in calls(name, *packages) if isinstance(call.args[0], ast.Constant)}


def test_those_of_the_worker():
    raised = codes("Refused", "streams") | codes("CodecError", "avro")
    assert raised
    assert {code for origin, code in EXPLANATIONS if origin == "streams"} == raised


def test_those_of_webhooks():
    raised = {ast.unparse(call.args[0]) for call in calls("RefusedError", "bridge")}
    found = {getattr(refusals, name.removeprefix("refusals.")).code for name in raised if name.startswith("refusals.")}
    # The refusal of a body that is too large takes its reason from what was raised before.
    assert {code for origin, code in EXPLANATIONS if origin == "webhook"} == found | {TOO_LARGE.code}


def test_those_of_the_drain():
    assert {code for origin, code in EXPLANATIONS if origin == "bridge"} == {
        BROKER_REFUSED,
        SPOOL_AGE_LIMIT,
        refusals.SUPPRESSED.code,
    }


def test_the_page_has_each_of_them():
    page = (ROOT / "docs" / "dead-letters.md").read_text("utf-8")
    rows = re.findall(r"^\| (\w+) \| `(\w+)` \|", page, re.MULTILINE)
    assert set(rows) == set(EXPLANATIONS)


def test_one_of_another_version_is_said_to_be_unknown():
    explanation = explain("streams", "of_the_future")
    assert "Unknown to this version" in explanation.meaning
    assert explanation.hopeless is not None
