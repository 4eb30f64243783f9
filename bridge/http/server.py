"""The HTTP server of the ingress, and its end in order."""

import asyncio
import socket

from bridge.delivery.keeper import SPOOL_WAIT_S
from bridge.http.app import App
from bridge.http.protocol import WebhookProtocol
from bridge.service import Service
from openbsp.http.connections import Connections
from openbsp.http.server import Server


async def serve_until(stop: asyncio.Event, service: Service, listener: socket.socket) -> None:
    """Answer the connections of `listener`; return when `stop` is set or the service failed, and all is answered."""
    settings, metrics = service.settings, service.metrics
    server = Server(
        App(service),
        Connections(settings.limits(), metrics.connections_refused, metrics.clients_given_up),
        keep_alive_s=settings.keep_alive_s,
        # No request takes longer than its body, its deadline and the disk are given.
        graceful_s=int(settings.body_timeout_s + settings.deadline_s + SPOOL_WAIT_S) + 1,
        protocol=WebhookProtocol,
    )
    service.failed.add_done_callback(lambda _: stop.set())
    stopping = asyncio.create_task(_end(server, stop))
    try:
        await server.serve_on(listener)
    finally:
        stopping.cancel()


async def _end(server: Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True
