"""The fixtures. pytest finds them by itself where this package is installed, through its entry point.

This module is imported in every test run of its environment, so it imports little, and checks nothing before a test
needs it.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from openbsp_testkit.errors import TestkitError
from openbsp_testkit.options import DESCRIPTIONS, Options, ini_name, variable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from openbsp_testkit.backend import Backend, Choice
    from openbsp_testkit.rows import Webhook
    from openbsp_testkit.sender import FakeSender
    from openbsp_testkit.stack import OpenBspStack, Tenant
    from openbsp_testkit.topic import TopicReader

#: The fixture that each test with a stack depends on.
_BASE = "openbsp_backend"
_GROUP = "openbsp"

_log = logging.getLogger(__name__)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini options."""
    for name, description in DESCRIPTIONS.items():
        parser.addini(ini_name(name), f"{description}; ${variable(name)} counts before it", default="")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Put the tests with a stack into one group, so that with `--dist loadgroup` one worker has them and one stack."""
    grouped = item.config.pluginmanager.hasplugin("xdist") and item.get_closest_marker("xdist_group") is None
    if grouped and _uses_a_stack(item):
        item.add_marker(pytest.mark.xdist_group(_GROUP))


def pytest_report_header(config: pytest.Config) -> str | None:
    """Report where stacks would run; with pytest-xdist, whose controller does not know the tests."""
    distributed = config.pluginmanager.hasplugin("dsession")
    return _report(config) if distributed else None


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> str | None:
    """Report where the stack runs, and why, if a test has one."""
    return _report(config) if any(map(_uses_a_stack, items)) else None


@pytest.fixture(scope="session")
def openbsp_backend(pytestconfig: pytest.Config) -> Backend:
    """Return where stacks run in this session, as the controller decided; an error if that is impossible."""
    with _in_a_sentence():
        return _choice(pytestconfig).backend


@pytest.fixture(scope="session")
def openbsp_stack(openbsp_backend: Backend, pytestconfig: pytest.Config) -> Iterator[OpenBspStack]:
    """Run Kafka, a schema registry, the bridge and a streams worker, from the first test that asks to the last."""
    from openbsp_testkit.stack import running_stack  # noqa: PLC0415

    starting = running_stack(openbsp_backend, _options(pytestconfig), say=lambda text: _say(pytestconfig, text))
    with ExitStack() as running:
        with _in_a_sentence():
            stack = running.enter_context(starting)
        yield stack


@pytest.fixture
def send_webhook(openbsp_stack: OpenBspStack) -> Callable[[Webhook], dict[str, Any]]:
    """Post a webhook and return the bridge's receipt; NotAcceptedError if there is none."""
    return openbsp_stack.send


@pytest.fixture
def fake_sender(openbsp_stack: OpenBspStack) -> FakeSender:
    """Send as OpenBSP does: in bursts, in any order, sometimes twice, and never retrying failures."""
    return openbsp_stack.sender()


@pytest.fixture
def openbsp_tenant(openbsp_stack: OpenBspStack) -> Tenant:
    """Return an organization with a token that is bound to it."""
    return openbsp_stack.tenant()


@pytest.fixture
def topic(openbsp_stack: OpenBspStack) -> Iterator[Callable[..., TopicReader]]:
    """Read a topic, such as `status-changes`, from now on or with `from_beginning=True`."""
    with ExitStack() as readers:

        def read(name: str, *, from_beginning: bool = False) -> TopicReader:
            return readers.enter_context(openbsp_stack.reader(name, from_beginning=from_beginning))

        yield read


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    """Make pytest show an error's message, without a traceback into the kit for each test."""
    try:
        yield
    except TestkitError as error:
        raise pytest.fail.Exception(f"{type(error).__name__}: {error}", pytrace=False) from None


def _uses_a_stack(item: pytest.Item) -> bool:
    return _BASE in getattr(item, "fixturenames", ())


def _options(config: pytest.Config) -> Options:
    return Options.read(lambda name: str(config.getini(name)), directory=config.rootpath)


def _choice(config: pytest.Config) -> Choice:
    from openbsp_testkit.backend import choose  # noqa: PLC0415

    found: Choice | None = config.stash.get(_CHOICE, None)
    if found is None:
        found = config.stash[_CHOICE] = choose(_options(config))
    return found


def _report(config: pytest.Config) -> str:
    try:
        return f"openbsp stack: {_choice(config)}"
    except TestkitError as error:
        return f"openbsp stack: none: {error}"


def _say(config: pytest.Config, text: str) -> None:
    """Write to the terminal, bypassing output capture; with pytest-xdist only to the log."""
    _log.info("%s", text)
    terminal = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    if terminal is None or capture is None:
        return
    with capture.global_and_fixture_disabled():
        terminal.ensure_newline()
        terminal.write_line(f"openbsp stack: {text}")


_CHOICE = pytest.StashKey[Any]()
