"""`bridge serve`: from settings to an exit code."""

import asyncio
import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass

import uvloop
from prometheus_client import disable_created_metrics

from avro.errors import ContractError
from bridge import health
from bridge.delivery.spool.file import SpoolFile
from bridge.delivery.spool.leftovers import spool_path
from bridge.errors import BridgeError
from bridge.exits import WORKER_NOT_STARTED, ExitCode
from bridge.http.server import serve_until
from bridge.service import outside, running
from bridge.settings import BridgeSettings
from bridge.supervisor import Supervisor
from openbsp.http.listener import listen
from openbsp.http.settings import LogLevel
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.log import LineWriter, start_logging

_log = logging.getLogger(__name__)


def run(settings: BridgeSettings, kafka: KafkaSettings, registry: RegistrySettings, topics: TopicSettings) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit code (see ExitCode). Reasons go to standard error and the log.

    Events are taken from the first moment on; what Kafka cannot take yet is spooled.
    """
    lines = start_logging(settings.log_level.value, sys.stdout.fileno())
    try:
        with listen(settings.host, settings.port) as listener:
            work = _Work(settings, kafka, registry, topics, listener)
            if settings.workers == 1:
                return work.do(0, lines)
            return Supervisor(_worker_process, work, settings.workers, settings.shutdown_s).run()
    except OSError as error:
        print(f"bridge: {settings.host}:{settings.port}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return ExitCode.NOT_STARTED
    finally:
        lines.close()


def _worker_process(number: int, work: "_Work") -> None:
    lines = start_logging(work.settings.log_level.value, sys.stdout.fileno())
    try:
        code = work.do(number, lines)
        sys.exit(WORKER_NOT_STARTED if code is ExitCode.NOT_STARTED else code)
    finally:
        lines.close()


@dataclass(frozen=True, slots=True)
class _Work:
    """What each worker does: serve the connections of `listener`."""

    settings: BridgeSettings
    kafka: KafkaSettings
    registry: RegistrySettings
    topics: TopicSettings
    listener: socket.socket

    def do(self, number: int, lines: LineWriter) -> ExitCode:
        """Serve as worker `number`, whose spool is its own, until told to end."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        try:
            spool_file = SpoolFile(spool_path(self.settings.spool_dir, number))
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(self._serve(number, spool_file, lines))
        except (BridgeError, ContractError) as error:
            _log.error("not started: %s", error)
            print(f"bridge: {error}", file=sys.stderr)  # noqa: T201
            return ExitCode.NOT_STARTED

    async def _serve(self, number: int, spool_file: SpoolFile, lines: LineWriter) -> ExitCode:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, _stop, stop, self.settings.shutdown_s)
        # Until there are tokens to be read again; by itself the signal would end the process.
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
        supervisor = multiprocessing.parent_process()
        if supervisor is not None:
            # A worker whose supervisor was killed ends in order, rather than answering for nobody.
            loop.add_reader(supervisor.sentinel, _supervisor_gone, supervisor.sentinel, stop)
        world = outside(self.kafka, self.registry, self.topics)
        request_lines = lines if self.settings.log_level in {LogLevel.DEBUG, LogLevel.INFO} else None
        async with running(self.settings, world, number, spool_file, request_lines) as service:
            loop.add_signal_handler(signal.SIGHUP, service.access.reload)
            # What is there now stays, and what a request leaves behind is hardly ever a cycle.
            gc.freeze()
            gc.set_threshold(50_000, 20, 50)
            _log.info("listening on http://%s:%d, %s", *self.listener.getsockname()[:2], health.state(service))
            await serve_until(stop, service, self.listener)
            _log.info("all requests are answered; %d events are left in the spool", service.spool.events)
            return ExitCode.FAILED if service.failed.done() else ExitCode.OK


def _stop(stop: asyncio.Event, limit_s: float) -> None:
    """End in order; if that takes too long, such as with a disk that hangs, end at once."""
    if not stop.is_set():
        stop.set()
        guard = threading.Timer(limit_s, os._exit, [ExitCode.FAILED])
        guard.daemon = True
        guard.start()


def _supervisor_gone(sentinel: int, stop: asyncio.Event) -> None:
    asyncio.get_running_loop().remove_reader(sentinel)
    stop.set()
