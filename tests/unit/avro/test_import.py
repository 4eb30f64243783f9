"""The package name `avro` is also that of Apache's package: the import must be ours, wherever it is done."""

import importlib.metadata
from pathlib import Path

import pytest

import avro

ROOT = Path(__file__).resolve().parents[3]


def test_the_import_is_this_project() -> None:
    assert Path(avro.__file__) == ROOT / "avro" / "__init__.py"
    assert importlib.metadata.packages_distributions()["avro"] == ["openbsp-stream-bridge"]


@pytest.mark.parametrize("name", ["avro", "avro-python3"])
def test_apaches_package_is_not_installed(name: str) -> None:
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.distribution(name)


def test_no_lock_file_asks_for_apaches_package() -> None:
    pinned = [line for path in ROOT.glob("requirements*.txt") for line in path.read_text("utf-8").splitlines()]
    assert pinned
    assert not [line for line in pinned if line.startswith(("avro==", "avro-python3==", "avro ", "avro-python3 "))]
