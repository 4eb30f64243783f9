"""The whole stack as a user starts it. Nothing here or in the tests beside it imports the services."""

import contextlib
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.local_servers import LocalStack
from support.up import RunningStack, start_up

BridgeUp = Callable[..., RunningStack]


@pytest.fixture
def bridge_up(tmp_path: Path) -> Iterator[BridgeUp]:
    """Start `bridge up --json` with the given arguments and `environment`; stopped at the end of the test."""
    yield from _starter(tmp_path)


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One stack for all tests that leave it whole. They share its topics: each uses ids that nobody else has."""
    for start in _starter(tmp_path_factory.mktemp("running-stack")):
        yield start()


@pytest.fixture(scope="module")
def servers() -> Iterator[LocalStack]:
    """Kafka and a registry, which the tests of one file may stop, kill and start again."""
    with LocalStack() as stack:
        yield stack


@pytest.fixture
def free_base() -> int:
    """Find four ports in a row that nobody listens on."""
    while True:
        base = random.randrange(10_000, 14_900)  # neither the system nor the stack chooses from these
        with contextlib.ExitStack() as sockets, contextlib.suppress(OSError):
            for port in range(base, base + 4):
                sockets.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return base


def _starter(directory: Path) -> Iterator[BridgeUp]:
    started: list[RunningStack] = []

    def start(*arguments: str, environment: dict[str, str] | None = None) -> RunningStack:
        started.append(start_up(directory, *arguments, environment=environment))
        return started[-1]

    try:
        yield start
    finally:
        for running in reversed(started):
            running.stop()
        for running in started:
            # Shown with a test that failed. The broker tells of each of its threads.
            lines = running.log.read_text("utf-8", "replace").splitlines()
            print("--- bridge up", *(line for line in lines if not line.startswith("kafka ")), sep="\n")
