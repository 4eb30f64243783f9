"""The fixtures. pytest finds them by itself where this package is installed, through its entry point."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from bridge.testkit.backend import Backend, Choice, choose
from bridge.testkit.errors import BackendError

if TYPE_CHECKING:
    # Here only: this module is imported in every test run, and the rest of the test kit takes a second.
    from collections.abc import Callable, Iterator

    from bridge.testkit.rows import Webhook
    from bridge.testkit.sender import FakeSender
    from bridge.testkit.stack import OpenBspStack
    from bridge.testkit.topic import TopicReader

_CHOICE = pytest.StashKey[Choice]()


def pytest_report_header(config: pytest.Config) -> str:
    """Say where a stack would run, and why."""
    try:
        return f"openbsp stack: {_choice(config)}"
    except BackendError as error:
        return f"openbsp stack: none: {error}"


@pytest.fixture(scope="session")
def openbsp_backend(pytestconfig: pytest.Config) -> Backend:
    """Tell where stacks run in this session, as the head of the run says; BackendError if that is impossible."""
    return _choice(pytestconfig).backend


@pytest.fixture(scope="session")
def openbsp_stack(openbsp_backend: Backend) -> "Iterator[OpenBspStack]":
    """Run Kafka, a schema registry, the bridge and a streams worker, from the first test that asks to the last."""
    from bridge.testkit.stack import running_stack  # noqa: PLC0415 as above

    with running_stack(openbsp_backend) as stack:
        yield stack


@pytest.fixture
def send_webhook(openbsp_stack: "OpenBspStack") -> "Callable[[Webhook], dict[str, Any]]":
    """Post a webhook and return the bridge's receipt; NotAcceptedError if there is none."""
    return openbsp_stack.send


@pytest.fixture
def fake_sender(openbsp_stack: "OpenBspStack") -> "FakeSender":
    """Send as OpenBSP does: in bursts, in any order, sometimes twice, and never again what failed."""
    return openbsp_stack.sender()


@pytest.fixture
def topic(openbsp_stack: "OpenBspStack") -> "Iterator[Callable[..., TopicReader]]":
    """Read a topic of the catalogue, such as `status-changes`, from now on or with `from_beginning=True`."""
    with ExitStack() as readers:

        def read(name: str, *, from_beginning: bool = False) -> "TopicReader":
            return readers.enter_context(openbsp_stack.reader(name, from_beginning=from_beginning))

        yield read


def _choice(config: pytest.Config) -> Choice:
    if _CHOICE not in config.stash:
        config.stash[_CHOICE] = choose()
    return config.stash[_CHOICE]
