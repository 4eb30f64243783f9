"""The HTTP server of the ingress, and its graceful shutdown."""

import asyncio
import functools
import socket
import time
from typing import Any

from bridge.delivery.keeper import SPOOL_WAIT_S
from bridge.http.acceptor import Acceptor
from bridge.http.app import App
from bridge.http.parts import Service
from bridge.http.protocol import WebhookProtocol
from bridge.http.webhook import ADMISSION_S
from openbsp.http.connections import Connections
from openbsp.http.problems import CLOSE
from openbsp.http.server import Server

#: How long connections without a request in progress are kept at shutdown.
_LAST_REQUESTS_S = 1.0
#: How long connections that are still idle then are read after the half-close: longer than a request is in transit.
_ON_THEIR_WAY_S = 0.5
_LOOK_EVERY_S = 0.05


async def serve_until(stop: asyncio.Event, service: Service, listener: socket.socket) -> None:
    """Serve `listener`; return when `stop` is set or the service failed, and all requests are answered."""
    settings, metrics = service.settings, service.metrics
    server = _IngressServer(
        listener,
        service.acceptor,
        App(service),
        Connections(settings.limits(), metrics),
        keep_alive_s=settings.keep_alive_s,
        # No request takes longer than memory for its body, that body, its deadline and the disk are given.
        graceful_s=int(ADMISSION_S + settings.body_timeout_s + settings.deadline_s + SPOOL_WAIT_S) + 1,
        protocol=WebhookProtocol,
    )
    service.failed.add_done_callback(lambda _: stop.set())
    stopping = asyncio.create_task(_end(server, service.acceptor, stop))
    try:
        await server.serve_on(None)
    finally:
        stopping.cancel()


class _IngressServer(Server):
    """Leaves accepting to an Acceptor."""

    def __init__(self, listener: socket.socket, acceptor: Acceptor, *args: Any, **options: Any) -> None:
        """Accept connections of `listener` through `acceptor`; the rest as Server."""
        super().__init__(*args, **options)
        self._listener = listener
        self._acceptor = acceptor

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting; see uvicorn.Server."""
        await super().startup(sockets)
        protocol: Any = self.config.http_protocol_class
        new_protocol = functools.partial(protocol, config=self.config, server_state=self.server_state, app_state={})
        self._acceptor.open(self._listener, self.server_state.connections, new_protocol)


async def _end(server: Server, acceptor: Acceptor, stop: asyncio.Event) -> None:
    """Accept no more connections, and end those that are kept alive after one more answer.

    Trap: closing an idle connection at the moment when its client sends the next request loses that request. An active
    connection gets `Connection: close` with its next answer. One that stays idle is half-closed, and a request in
    transit is still read and kept.
    """
    await stop.wait()
    await acceptor.close()
    server.config.encoded_headers.append(CLOSE)
    server.server_state.default_headers.append(CLOSE)
    await _until_none_is_left(server, _LAST_REQUESTS_S)
    for connection in list(server.server_state.connections):
        if isinstance(connection, WebhookProtocol):
            connection.half_close()
    await _until_none_is_left(server, _ON_THEIR_WAY_S)
    server.should_exit = True


async def _until_none_is_left(server: Server, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while server.server_state.connections and time.monotonic() < deadline:  # noqa: ASYNC110 uvicorn has no event for it
        await asyncio.sleep(_LOOK_EVERY_S)
