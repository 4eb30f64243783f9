"""For all tests: how hard hypothesis looks, and the figures that tests found.

HYPOTHESIS_PROFILE chooses the former; in CI the default is `ci`. A test prints a figure as a line `figure: ...`.
"""

import os

import pytest
from hypothesis import settings

# No deadline: machines pause, and a slow example is no wrong one.
settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=200, deadline=None, print_blob=True)
settings.register_profile("long", max_examples=5_000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures of the tests that passed, which pytest shows nothing of otherwise."""
    found = [
        (report.nodeid, line.removeprefix("figure: "))
        for report in terminalreporter.getreports("passed")
        if report.when == "call"
        for line in report.capstdout.splitlines()
        if line.startswith("figure: ")
    ]
    if found:
        terminalreporter.section("figures")
    for test, line in found:
        path, _, name = test.partition("::")
        terminalreporter.write_line(f"{path.rpartition('/')[2]}::{name}: {line}")
