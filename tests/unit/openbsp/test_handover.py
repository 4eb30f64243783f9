"""Sockets that a process is given by whoever started it, and what it tells the service manager."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openbsp.errors import InheritedSocketError
from openbsp.handover import inherited_listener, notify, variables_for
from openbsp.http.listener import listen
from support.bridge_process import as_systemd


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listen("127.0.0.1", 0) as listening:
        yield listening


def test_a_socket_of_a_process_of_ours(listener: socket.socket):
    environment = {**variables_for(listener), "OTHER": "stays"}
    found = inherited_listener(environment)
    assert found is not None
    assert found.getsockname() == listener.getsockname()
    assert environment == {"OTHER": "stays"}, "a process that this one starts must not take the socket for its own"
    assert not found.get_inheritable()
    found.detach()


def test_a_socket_of_systemd(listener: socket.socket):
    """Descriptor 3, for the process with the id that the variables name; they are removed as well."""
    program = (
        "import os; from openbsp.handover import inherited_listener; found = inherited_listener(os.environ); "
        "print(found.fileno(), found.getsockname()[1], [name for name in os.environ if name.startswith('LISTEN_')])"
    )
    done = subprocess.run(
        as_systemd(listener, [sys.executable, "-c", program]),
        pass_fds=[listener.fileno()],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == f"3 {listener.getsockname()[1]} []\n", done.stderr


@pytest.mark.parametrize(
    "environment", [{}, {"LISTEN_FDS": "1"}, {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "x"}]
)
def test_there_is_none(environment: dict[str, str]):
    """Also not where systemd meant another process."""
    assert inherited_listener(environment) is None
    assert environment == {}


def test_systemd_gives_more_than_one():
    with pytest.raises(InheritedSocketError, match="one ListenStream"):
        inherited_listener({"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid())})


def test_what_is_no_listening_socket_is_refused():
    with socket.socket() as idle, pytest.raises(InheritedSocketError, match="Accept=no"):
        inherited_listener({"OPENBSP_LISTENER_FD": str(idle.fileno())})
    read, write = os.pipe()
    try:
        with pytest.raises(InheritedSocketError, match="not a socket"):
            inherited_listener({"OPENBSP_LISTENER_FD": str(read)})
    finally:
        os.close(read)
        os.close(write)


def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1")
        assert manager.recv(100) == b"READY=1"
    notify("nobody listens")
