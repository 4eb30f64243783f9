"""uvicorn as one part of a process, with the limits and settings that every service has."""

import asyncio
import contextlib
import functools
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from openbsp.http.connections import Connections, GuardedProtocol
from openbsp.http.listener import BACKLOG

#: Clients with active connections learn within this time that the process ends.
_DRAIN_S = 0.5


class Server(uvicorn.Server):
    """Serves an ASGI application on a listening socket, and leaves signals to the process.

    Trap: uvicorn would raise a signal again at its end, which kills the process before anything else is closed. And
    when it cannot bind, it exits the process from within its task: give it a socket.
    """

    def __init__(
        self,
        application: Any,
        connections: Connections,
        *,
        keep_alive_s: int,
        graceful_s: int,
        protocol: type[GuardedProtocol] = GuardedProtocol,
    ) -> None:
        """Keep idle connections for `keep_alive_s` seconds; at shutdown, wait `graceful_s` for requests in progress."""
        self._guard = connections
        self._accepting: socket.socket | None = None
        make_protocol: Any = functools.partial(protocol, connections)  # uvicorn only calls it
        super().__init__(
            uvicorn.Config(
                application,
                interface="asgi3",
                http=make_protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,  # see openbsp.http.proxies
                server_header=False,
                timeout_keep_alive=keep_alive_s,
                timeout_graceful_shutdown=graceful_s,
                backlog=BACKLOG,
            )
        )

    async def serve_on(self, listener: socket.socket | None) -> None:
        """Answer the connections of `listener` until `should_exit` is set and requests in progress have ended.

        None: connections come from elsewhere.
        """
        self._accepting = listener
        # To the very end: a single client that does not read its answer keeps uvicorn from ending.
        watching = asyncio.create_task(self._guard.watch(self.server_state.connections))
        try:
            await self.serve([] if listener is None else [listener])
        finally:
            watching.cancel()

    async def drain(self) -> None:
        """End each connection with its next answer, and after 0.5 s accept no more; return after 0.75 s at the latest.

        Trap: uvicorn finally closes connections without a request in progress; a request in transit gets no answer, on
        a kept-alive or a just accepted connection.
        """
        self._guard.ending = True
        await self._until_none_is_open(_DRAIN_S)
        await self._accept_no_more()
        await self._until_none_is_open(_DRAIN_S / 2)

    async def _accept_no_more(self) -> None:
        """Accept the connections in the backlog, and refuse later ones.

        Trap: closing a listening socket resets the connections in its backlog, so nothing slow may happen between the
        last check and the close.
        """
        waiting: list[socket.socket] = []
        if self._accepting is not None:
            self._accepting.settimeout(0)
            with contextlib.suppress(OSError):
                while True:
                    waiting.append(self._accepting.accept()[0])
            with contextlib.suppress(OSError):  # only Linux has it
                self._accepting.shutdown(socket.SHUT_RDWR)
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            connection.settimeout(0)
            await loop.connect_accepted_socket(self._make_protocol, connection)

    def _make_protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def _until_none_is_open(self, most_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                while self.server_state.connections:  # noqa: ASYNC110 nothing is set when the last one ends
                    await asyncio.sleep(0.05)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
