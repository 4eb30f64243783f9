"""`bridge serve`: from settings to an exit code."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn
import uvloop

from avro.connection import KafkaSettings, RegistrySettings, TopicSettings
from avro.errors import ContractError
from bridge import health
from bridge.app import App
from bridge.errors import BridgeError
from bridge.keeper import SPOOL_WAIT_S
from bridge.log import LineWriter, start_logging
from bridge.protocol import TimedProtocol, close_overdue
from bridge.service import Servers, Service, running
from bridge.settings import BridgeSettings, LogLevel
from bridge.spool_file import SpoolFile

_log = logging.getLogger(__name__)

#: How long a start waits for servers that do not answer, before it serves without them.
_PATIENCE_S = 3.0
_BACKLOG = 2048
_SWEEP_S = 0.5


def run(settings: BridgeSettings, kafka: KafkaSettings, registry: RegistrySettings, topics: TopicSettings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code: 0, or 1 with the reason on standard error.

    Events are taken from the first moment on; what Kafka cannot take yet is spooled.
    """
    lines = start_logging(settings.log_level.value, sys.stdout.fileno())
    try:
        with _listen(settings.host, settings.port) as listener:
            return serve_worker(settings, Servers(kafka, registry, topics), listener, 0, lines)
    except OSError as error:
        print(f"bridge: {settings.host}:{settings.port}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    finally:
        lines.close()


def serve_worker(
    settings: BridgeSettings,
    servers: Servers,
    listener: socket.socket,
    number: int,
    lines: LineWriter,
) -> int:
    """Serve connections of `listener` as worker `number`, whose spool is its own. Returns the exit code."""
    try:
        spool_file = SpoolFile(settings.spool_dir / f"spool-{number}.db")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, servers, listener, spool_file, lines))
    except (BridgeError, ContractError) as error:
        _log.error("not started: %s", error)
        print(f"bridge: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


async def _serve(
    settings: BridgeSettings,
    servers: Servers,
    listener: socket.socket,
    spool_file: SpoolFile,
    lines: LineWriter,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    request_lines = lines if settings.log_level in {LogLevel.DEBUG, LogLevel.INFO} else None
    async with running(settings, servers, spool_file, request_lines, _PATIENCE_S) as service:
        loop.add_signal_handler(signal.SIGHUP, service.access.reload)
        server = _Server(_server_config(settings, service))
        watcher = asyncio.create_task(_watch(server, settings, service, stop))
        _log.info("listening on http://%s:%d, %s", *listener.getsockname()[:2], health.state(service))
        await server.serve([listener])
        watcher.cancel()
        _log.info("all requests are answered; %d events are left in the spool", service.spool.events)
        if service.failed.done():
            service.failed.result()


async def _watch(server: "_Server", settings: BridgeSettings, service: Service, stop: asyncio.Event) -> None:
    service.failed.add_done_callback(lambda _: stop.set())
    while not server.should_exit:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _SWEEP_S)
            server.should_exit = True
        close_overdue(
            server.server_state.connections,
            settings.header_timeout_s,
            settings.header_timeout_s + settings.body_timeout_s,
        )


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn would raise the signal again at its end, which kills the process before the spool is closed.
        yield


def _server_config(settings: BridgeSettings, service: Service) -> uvicorn.Config:
    application: Any = App(service)
    return uvicorn.Config(
        application,
        interface="asgi3",
        http=TimedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        # No request takes longer than its body, its deadline and the disk are given.
        timeout_graceful_shutdown=int(settings.body_timeout_s + settings.deadline_s + SPOOL_WAIT_S) + 1,
        backlog=_BACKLOG,
    )


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)  # connections wait here until the start is done, rather than being refused
        listener.setblocking(False)  # noqa: FBT003 the socket's own signature
    except BaseException:
        listener.close()
        raise
    return listener
