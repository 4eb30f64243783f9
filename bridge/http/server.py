"""The HTTP server: a socket, uvicorn, and an end in order."""

import asyncio
import contextlib
import socket
import time
from typing import Any

import uvicorn

from bridge.delivery.keeper import SPOOL_WAIT_S
from bridge.http.app import App
from bridge.http.protocol import WebhookProtocol
from bridge.http.slow_clients import SlowClients
from bridge.service import Service
from openbsp.http.listener import BACKLOG, Server

_SWEEP_S = 0.5


async def serve_until(stop: asyncio.Event, service: Service, listener: socket.socket) -> None:
    """Answer the connections of `listener`; return when `stop` is set or the service failed, and all is answered."""
    server = Server(_config(service))
    watcher = asyncio.create_task(_watch(server, service, stop))
    await server.serve([listener])
    watcher.cancel()


async def _watch(server: Server, service: Service, stop: asyncio.Event) -> None:
    service.failed.add_done_callback(lambda _: stop.set())
    slow_clients = SlowClients(service.settings.header_timeout_s, service.settings.body_timeout_s)
    # To the very end: it takes only one client that does not read its answer to keep uvicorn from ending.
    while True:
        if server.should_exit:
            await asyncio.sleep(_SWEEP_S)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _SWEEP_S)
                server.should_exit = True
        slow_clients.look(server.server_state.connections, time.monotonic())


def _config(service: Service) -> uvicorn.Config:
    settings = service.settings
    application: Any = App(service)
    return uvicorn.Config(
        application,
        interface="asgi3",
        http=WebhookProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        # No request takes longer than its body, its deadline and the disk are given.
        timeout_graceful_shutdown=int(settings.body_timeout_s + settings.deadline_s + SPOOL_WAIT_S) + 1,
        backlog=BACKLOG,
    )
