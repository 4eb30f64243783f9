"""Listening sockets that outlive processes: inherited from a parent process, handed over to a successor.

Between two processes connections wait in the socket's backlog, so that a restart refuses none.
"""

import contextlib
import os
import socket
from collections.abc import Mapping, MutableMapping

from openbsp.errors import InheritedSocketError

#: systemd's protocol (sd_listen_fds(3)): so many descriptors from 3 on, for the process with this id.
_SYSTEMD_COUNT = "LISTEN_FDS"
_SYSTEMD_PID = "LISTEN_PID"
_SYSTEMD_NAMES = "LISTEN_FDNAMES"
_SYSTEMD_FIRST = 3
#: The same between this project's processes, whose descriptors keep their numbers.
_DESCRIPTOR = "OPENBSP_LISTENER_FD"
_NOTIFY = "NOTIFY_SOCKET"


def inherited_listener(environment: MutableMapping[str, str]) -> socket.socket | None:
    """Return the inherited listening socket, or None; its variables are removed from `environment`.

    Raises InheritedSocketError if there is one that cannot be served.
    """
    descriptor = environment.pop(_DESCRIPTOR, None)
    count = environment.pop(_SYSTEMD_COUNT, None)
    pid = environment.pop(_SYSTEMD_PID, None)
    environment.pop(_SYSTEMD_NAMES, None)
    if descriptor is None:
        # Trap: the variables may be those of the parent process, which forgot to remove them.
        if count is None or pid != str(os.getpid()):
            return None
        if count != "1":
            raise InheritedSocketError(f"{_SYSTEMD_COUNT} is {count}, but one socket is served: give one ListenStream")
        descriptor = str(_SYSTEMD_FIRST)
    try:
        listener = socket.socket(fileno=int(descriptor))
        listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except (OSError, ValueError) as error:
        raise InheritedSocketError(f"descriptor {descriptor} is not a socket: {error}") from None
    if listener.type != socket.SOCK_STREAM or listener.family not in {socket.AF_INET, socket.AF_INET6} or not listening:
        listener.detach()
        raise InheritedSocketError(f"descriptor {descriptor} is no listening TCP socket (systemd: Accept=no)")
    listener.setblocking(False)  # noqa: FBT003 the socket's own signature
    listener.set_inheritable(False)
    return listener


def variables_for(listener: socket.socket) -> Mapping[str, str]:
    """Return the variables that name `listener` to a child process, which inherits the descriptor."""
    return {_DESCRIPTOR: str(listener.fileno())}


def notify(state: str) -> None:
    """Notify the service manager, if it asked for that, such as with `READY=1`; see sd_notify(3)."""
    address = os.environ.get(_NOTIFY)
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    # A manager that does not listen is no reason to stop serving.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode(), address)
