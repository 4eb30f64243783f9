"""Ports on the loopback address."""

import random
import socket

LOOPBACK = "127.0.0.1"

# Below the ports that systems give to outgoing connections. One of those could take the port of a server that is down
# for a moment; a client that tries again and again to reach it there can even get connected to itself.
_CHOICE = range(15000, 30000)


def free_ports(count: int) -> list[int]:
    """Choose `count` different ports that nobody listens on now; somebody may in the next moment: be ready for that."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.choice(_CHOICE)  # noqa: S311 - not a secret
        if port not in ports and is_free(port):
            ports.append(port)
    return ports


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
