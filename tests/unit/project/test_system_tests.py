"""System tests do what a user or another team does, so they import nothing of the services, nor does their support."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
OURS = {"avro", "bridge", "openbsp", "streams"}
#: What the support of system tests has of ours all the same: it starts processes with it, and says nothing about them.
EXCEPTIONS = {
    ("support.join_fleet", "openbsp.local.part"): "for how long a part may start",
    ("support.join_fleet", "openbsp.up.part"): "starts workers, which die with the tests",
    ("support.local_servers", "openbsp.local.stack"): "starts Kafka and a registry where there is no container engine",
    ("support.npm", "openbsp.local.artifacts"): "the folder for what is downloaded once",
}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}: a relative import"
            if node.module == "support" or (TESTS / node.module.replace(".", "/")).is_dir():
                yield from (f"{node.module}.{name.name}" for name in node.names)
            else:
                yield node.module


def reached(path: Path) -> set[tuple[str, str]]:
    """Return the pairs (module, module of ours that it imports): of the file, and of all support that it leads to."""
    found, left, seen = set(), [(f"{path.parent.name}.{path.stem}", path)], set()
    while left:
        name, file = left.pop()
        if name in seen:
            continue
        seen.add(name)
        for other in imported(file):
            if other.partition(".")[0] in OURS:
                found.add((name, other))
            elif other.startswith("support."):
                left.append((other, TESTS / f"{other.replace('.', '/')}.py"))
    return found


@pytest.mark.parametrize("path", sorted((TESTS / "system").glob("*.py")), ids=lambda path: path.name)
def test_it_imports_nothing_of_the_services(path: Path):
    assert reached(path) - set(EXCEPTIONS) == set()


def test_each_exception_is_one():
    assert set(EXCEPTIONS) <= set().union(*map(reached, (TESTS / "system").glob("*.py")))
