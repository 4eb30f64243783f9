"""A start whose address is still that of a bridge that ends."""

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import serve
from bridge.settings import BridgeSettings
from support.ingress import TOKEN

IN_USE = OSError(errno.EADDRINUSE, "Address already in use")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as made:
        yield made


def listen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, attempts: list, held: list[bool]) -> socket.socket:
    """Listen where attempts end like this, and the spool is held or not between them."""

    def attempt(*_: object) -> socket.socket:
        outcome = attempts.pop(0)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    monkeypatch.setattr(serve, "listen", attempt)
    monkeypatch.setattr(serve, "is_held", lambda _: held.pop(0))
    return serve._listen(BridgeSettings(tokens=f"tests={TOKEN}", spool_dir=tmp_path), 0)


def test_the_workers_of_a_bridge_that_was_killed_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listener: socket.socket
):
    """Which of both they give up first, their spool or their socket, is up to the system."""
    attempts = [IN_USE, IN_USE, listener]
    assert listen(monkeypatch, tmp_path, attempts=attempts, held=[True, False]) is listener


def test_an_address_that_somebody_else_has_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    attempts = [IN_USE, IN_USE]
    with pytest.raises(OSError, match="in use"):
        listen(monkeypatch, tmp_path, attempts=attempts, held=[False])
    assert not attempts
