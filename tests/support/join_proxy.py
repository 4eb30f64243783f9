"""A network between clients and a server that can hold back what they send, and deliver it later, or cut everything."""

import contextlib
import socket
import struct
import threading
from typing import Self

_CHUNK = 1 << 16
_LOOK_S = 0.05

#: The beginning of a request of Kafka's protocol: its length without these four bytes, and what is asked for.
_REQUEST = struct.Struct(">IH")
_PRODUCE = 0


class _Requests:
    """Follows the requests that pass on a connection."""

    def __init__(self) -> None:
        self.produces = False
        self._head = bytearray()
        self._rest = 0

    def see(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._rest:
                step = min(self._rest, len(data) - at)
                self._rest -= step
                at += step
                continue
            step = min(_REQUEST.size - len(self._head), len(data) - at)
            self._head += data[at : at + step]
            at += step
            if len(self._head) == _REQUEST.size:
                length, kind = _REQUEST.unpack(self._head)
                self.produces = self.produces or kind == _PRODUCE
                self._rest = length - 2
                self._head.clear()


class _Connection:
    """Bytes from a client to the server, through a buffer, and back without one."""

    def __init__(
        self, client: socket.socket, server: socket.socket, flowing: threading.Event, *, records_only: bool
    ) -> None:
        self.client = client
        self.server = server
        self._flowing = flowing
        self._records_only = records_only
        self._requests = _Requests()
        self._buffer = bytearray()
        self._changed = threading.Condition()
        self._client_gone = False
        self.gone = threading.Event()
        for work in (self._take, self._pass_on, self._answer):
            threading.Thread(target=work, daemon=True).start()

    @property
    def held(self) -> int:
        """Bytes that have come and were not passed on."""
        with self._changed:
            return len(self._buffer)

    def damage(self, what: bytes) -> None:
        """Change a bit in the first place where `what` is held."""
        with self._changed:
            if (at := self._buffer.find(what)) >= 0:
                self._buffer[at] ^= 1

    def wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def close(self) -> None:
        self.gone.set()
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.wake()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.client.recv(_CHUNK):
                with self._changed:
                    self._requests.see(data)
                    self._buffer += data
                    self._changed.notify()
        with self._changed:
            self._client_gone = True
            self._changed.notify()

    def _pass_on(self) -> None:
        while not self.gone.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self.gone.is_set() or self._ready(), _LOOK_S)
                if not self._ready():
                    continue
                data, self._buffer = self._buffer, bytearray()
                done = self._client_gone
            try:
                self.server.sendall(data)
                if done:
                    self.server.shutdown(socket.SHUT_WR)
                    return
            except OSError:
                self.close()

    def _ready(self) -> bool:
        flowing = self._flowing.is_set() or (self._records_only and not self._requests.produces)
        return flowing and bool(self._buffer or self._client_gone)

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.server.recv(_CHUNK):
                # A client that is gone hears nothing; the server must be heard to the end all the same.
                with contextlib.suppress(OSError):
                    self.client.sendall(data)
        self.close()


class Proxy:
    """Listens on `port` of 127.0.0.1 for a server on `target`. A context manager.

    With `records_only`, what it can hold back are the connections on which a client of Kafka writes records.
    """

    def __init__(self, port: int, target: int, *, records_only: bool = False) -> None:
        """Pass everything on, until told otherwise."""
        self.port = port
        self._target = target
        self._records_only = records_only
        self._flowing = threading.Event()
        self._flowing.set()
        self._connections: list[_Connection] = []
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()

    def hold(self) -> None:
        """Keep what clients send from now on."""
        self._flowing.clear()

    def release(self, *, damaged: bytes | None = None) -> None:
        """Deliver what was held, even of clients that are gone, and pass everything on again.

        If what is `damaged` is in a batch of records, the broker refuses that batch, and its client sends it again.
        """
        for connection in self._connections if damaged is not None else ():
            connection.damage(damaged)
        self._flowing.set()
        for connection in self._connections:
            connection.wake()

    @property
    def held(self) -> int:
        """Bytes that are held."""
        return sum(connection.held for connection in self._connections)

    def accept(self) -> None:
        """Listen."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._listen, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Listen no more, and cut all connections."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()

    def _listen(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    client.close()
                    continue
                self._connections.append(_Connection(client, server, self._flowing, records_only=self._records_only))
