"""A refusal is entered once, as a Reason; what lists them, lists all."""

import ast
from pathlib import Path

import pytest

from bridge.http import refusals as of_the_bridge
from streams.views import refusals as of_the_views

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(("package", "service"), [("bridge", of_the_bridge), ("streams", of_the_views)])
def test_every_reason_is_one_of_its_service_and_no_two_have_a_code(package: str, service):
    entered = sum(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Reason"
        for folder in ("openbsp", package)
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
    )
    assert entered == len(service.REASONS)
