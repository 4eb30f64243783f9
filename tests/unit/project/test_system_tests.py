"""System tests do what a user or another team does, so they import nothing of the services."""

import ast
from pathlib import Path

import pytest

SYSTEM = Path(__file__).parents[2] / "system"
OURS = {"avro", "bridge", "openbsp", "streams"}


@pytest.mark.parametrize("path", sorted(SYSTEM.glob("*.py")), ids=lambda path: path.name)
def test_it_imports_nothing_of_the_services(path: Path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.partition(".")[0])
    assert not imported & OURS
