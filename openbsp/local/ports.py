"""Ports on the loopback address."""

import os
import random
import socket
import sys
from collections import deque

LOOPBACK = "127.0.0.1"

# Below the ports that systems give to outgoing connections. One of those could take the port of a server that is down
# for a moment; a client that keeps trying to reach it there can even get connected to itself.
_CHOICE = range(15000, 30000)
#: The descriptors that hold the latest reservations.
_reservations: deque[int] = deque(maxlen=16)


def free_ports(count: int) -> list[int]:
    """Choose `count` different free ports; another process may take one at any moment: handle that.

    On Linux, no other process of this project chooses one of them for now, so stacks can start side by side.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.choice(_CHOICE)  # noqa: S311 - not a secret
        if port not in ports and is_free(port) and _reserved(port):
            ports.append(port)
    return ports


def _reserved(port: int) -> bool:
    """Reserve a port among the processes of this project, by an abstract socket that nothing listens on.

    Such a name is no file, and the kernel releases it with the process. A port with a listener needs none any more.
    """
    if sys.platform != "linux":
        return True
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.bind(f"\0openbsp-port-{port}")
        except OSError:
            return False
        if len(_reservations) == _reservations.maxlen:
            os.close(_reservations.popleft())
        _reservations.append(sock.detach())
    return True


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket() as sock:
        # As Java does: connections of an earlier server in TIME_WAIT are no obstacle.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def accepts_connections(port: int) -> bool:
    """Whether something listens on `port`."""
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex((LOOPBACK, port)) == 0
