"""The pinned requirements: complete, with hashes, the same for all, and free of the machine that made them."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
#: Of the image, which can trace, and with what `bridge up` needs; the latter goes with the wheel, for the test kit.
RUNTIME = {"requirements.txt": ["otel"], "openbsp/local/requirements.txt": ["local"]}
FILES = [*RUNTIME, "requirements-dev.txt"]


EXTRAS = PROJECT["project"]["optional-dependencies"]


def pins(name):
    """Return the version of each pinned package."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", (ROOT / name).read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("name", FILES)
def test_each_pin_has_hashes(name):
    blocks = re.split(r"\n(?=[a-z])", (ROOT / name).read_text("utf-8"))[1:]
    assert blocks
    assert [block.split()[0] for block in blocks if not re.search(r"--hash=sha256:[0-9a-f]{64}", block)] == []


@pytest.mark.parametrize("name", FILES)
def test_no_index_and_no_place_on_a_machine_is_named(name):
    assert not re.search(
        r"https?:|--\w*index|--find-links|file:|^-e| /", (ROOT / name).read_text("utf-8"), re.MULTILINE
    )


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        *(
            (name, [*PROJECT["project"]["dependencies"], *chain.from_iterable(map(EXTRAS.get, extras))])
            for name, extras in RUNTIME.items()
        ),
        (
            "requirements-dev.txt",
            [
                *PROJECT["project"]["dependencies"],
                *chain.from_iterable(EXTRAS.values()),
                *PROJECT["dependency-groups"]["dev"],
            ],
        ),
    ],
    ids=FILES,
)
def test_everything_that_the_project_names_is_pinned_as_it_allows(name, wanted):
    """After a change of pyproject.toml: `make lock`."""
    pinned = pins(name)
    for requirement in map(Requirement, wanted):
        assert requirement.name in pinned
        assert requirement.specifier.contains(pinned[requirement.name]), requirement


@pytest.mark.parametrize("file", RUNTIME)
def test_who_runs_the_services_has_the_versions_of_the_developers(file):
    developers = pins("requirements-dev.txt")
    assert {name: version for name, version in pins(file).items() if developers.get(name) != version} == {}


def test_the_test_kit_asks_for_little():
    """It is a guest in environments with lock files of their own."""
    kit = tomllib.loads((ROOT / "testkit" / "pyproject.toml").read_text("utf-8"))["project"]
    assert kit["version"] == PROJECT["project"]["version"]
    assert kit["dependencies"] == ["pytest>=7"]
    assert kit["requires-python"] == ">=3.10"
