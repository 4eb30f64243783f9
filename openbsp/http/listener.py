"""A listening socket, and uvicorn on it as one part of a process."""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises OSError.

    Connections wait in it until somebody serves them, rather than being refused.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with contextlib.ExitStack() as undo:
        listener = undo.enter_context(socket.socket(family, kind, protocol))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 the socket's own signature
        undo.pop_all()
        return listener


class Server(uvicorn.Server):
    """uvicorn, which leaves signals to the process.

    Trap: it would raise a signal again at its end, which kills the process before anything else is closed. And when it
    cannot bind, it exits the process from within its task: give it a socket.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
