"""The plugin in somebody's test run: silent and cheap until a test wants a stack, and one group with pytest-xdist."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

QUIET = """
import sys

def test_of_something_else():
    loaded = {name for name in sys.modules if name.startswith("openbsp_testkit.")}
    assert loaded == {"openbsp_testkit.plugin", "openbsp_testkit.errors", "openbsp_testkit.options"}
    assert {"docker", "testcontainers", "confluent_kafka", "httpx", "pydantic"}.isdisjoint(sys.modules)
"""
WANTS = "def test_one(openbsp_stack): pass\ndef test_two(topic): pass\ndef test_three(): pass\n"
SHOW = """
def pytest_collection_modifyitems(items):
    for item in items:
        print("group", item.name, [mark.args for mark in item.iter_markers("xdist_group")])
"""


def run(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with the kit's plugin and those that are named, whatever else is installed here."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBSP_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "openbsp_testkit.plugin", *arguments],
        cwd=directory,
        env={**own, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_without_a_stack_has_nothing_of_it(tmp_path):
    (tmp_path / "test_quiet.py").write_text(QUIET, "utf-8")
    result = run(tmp_path, "-W", "error", OPENBSP_TESTKIT_BACKEND="nonsense")
    assert result.returncode == 0, result.stdout
    assert "openbsp" not in result.stdout.partition("collected")[2]


@pytest.mark.parametrize(
    ("backend", "said"), [("local", "local (as set)"), ("podman", "none: OPENBSP_TESTKIT_BACKEND can be containers or")]
)
def test_where_the_stack_runs_is_said_if_a_test_wants_one(backend, said, tmp_path):
    (tmp_path / "test_wants.py").write_text(WANTS, "utf-8")
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nopenbsp_backend = {backend}\n", "utf-8")
    assert f"openbsp stack: {said}" in run(tmp_path, "--collect-only").stdout


def test_tests_with_a_stack_are_one_group_where_xdist_is(tmp_path):
    (tmp_path / "test_wants.py").write_text(WANTS, "utf-8")
    (tmp_path / "conftest.py").write_text(SHOW, "utf-8")
    wants = run(tmp_path, "--collect-only", "-s", "-p", "xdist", OPENBSP_TESTKIT_BACKEND="local").stdout
    assert "group test_one [('openbsp',)]\ngroup test_two [('openbsp',)]\ngroup test_three []" in wants
    without = run(tmp_path, "--collect-only", "-s", "-W", "error", OPENBSP_TESTKIT_BACKEND="local").stdout
    assert "group test_one []" in without


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"OPENBSP_TESTKIT_BACKEND": "podman"}, "OptionError: OPENBSP_TESTKIT_BACKEND can be containers or local, not"),
        (
            {"OPENBSP_TESTKIT_BACKEND": "local", "OPENBSP_TESTKIT_SERVICES": "/nowhere"},
            "ServicesError: OPENBSP_TESTKIT",
        ),
    ],
)
def test_a_stack_that_cannot_be_had_is_a_sentence_and_no_traceback(variables, sentence, tmp_path):
    (tmp_path / "test_wants.py").write_text(WANTS, "utf-8")
    result = run(tmp_path, **variables)
    assert "1 passed, 2 errors" in result.stdout
    assert result.stdout.count(f"\n{sentence}") == 2
    assert "openbsp_testkit/" not in result.stdout
    assert "another exception" not in result.stdout
