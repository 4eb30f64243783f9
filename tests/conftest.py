"""For all tests: how hard hypothesis looks, the figures that tests found, and what several kinds of them need.

HYPOTHESIS_PROFILE chooses the former; in CI the default is `ci`. A test prints a figure as a line `figure: ...`.
"""

import os
import resource
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# No limits of time: machines pause, and a slow example is no wrong one.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", PATIENT, max_examples=50)
settings.register_profile("ci", PATIENT, max_examples=200, print_blob=True)
settings.register_profile("long", PATIENT, max_examples=5_000, print_blob=True)
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


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Let this process, and those that it starts, have some thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 8192:
        pytest.skip("the limit of descriptors is too low for so many connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
