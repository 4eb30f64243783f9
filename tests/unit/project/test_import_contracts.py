"""pyproject.toml: what import-linter forbids to all of streams/ but a few, it forbids to a new module too."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CONTRACTS = {
    contract["name"].partition(":")[0]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
}
MODULES = {
    f"streams.{path.stem}"
    for path in (ROOT / "streams").iterdir()
    if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()
}


@pytest.mark.parametrize(
    ("name", "part", "others"),
    [
        ("the merges know the contract and nothing else", "forbidden_modules", {"streams.state"}),
        ("the engine knows no domain", "forbidden_modules", {"streams.engine"}),
        ("only the engine knows Kafka's clients", "source_modules", {"streams.engine", "streams.repartition"}),
    ],
)
def test_each_module_is_named(name: str, part: str, others: set[str]):
    named = {module for module in CONTRACTS[name][part] if module.startswith("streams.")}
    assert named == MODULES - others
