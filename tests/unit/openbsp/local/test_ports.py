"""Ports: free, different, and out of the way of outgoing connections."""

import os
import socket
import subprocess
import sys

import pytest

from openbsp.local import ports as module
from openbsp.local.ports import accepts_connections, free_ports, is_free


def test_chosen_ports_are_different_and_free() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert all(is_free(port) for port in ports)


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(port)
        assert accepts_connections(port)
    assert is_free(port)
    assert not accepts_connections(port)


CHOOSE = """
import sys
from openbsp.local import ports
ports._CHOICE = range(int(sys.argv[1]), int(sys.argv[1]) + 2)
sys.stdout.write(str(ports.free_ports(1)[0]))
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reservations are names in Linux's abstract namespace")
def test_two_stacks_that_start_at_once_do_not_choose_the_same_port(unused_port):
    """Neither listens yet; a reservation ends with its process."""
    for _ in range(5):
        command = [sys.executable, "-c", CHOOSE, str(unused_port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            theirs = int(other.stdout.read(5))
            assert not module._reserved(theirs)
        assert module._reserved(theirs)
        os.close(module._reservations.pop())
