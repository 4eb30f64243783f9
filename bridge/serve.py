"""`bridge serve`: from settings to an exit code."""

import asyncio
import contextlib
import errno
import functools
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop
from prometheus_client import disable_created_metrics, values

from avro.errors import ContractError
from bridge.delivery.spool.file import SpoolFile, is_held
from bridge.delivery.spool.leftovers import spool_path
from bridge.errors import BridgeError, SpoolInUseError
from bridge.exits import WORKER_NOT_STARTED
from bridge.http import health
from bridge.http.server import serve_until
from bridge.service import PATIENCE_S, outside, running
from bridge.settings import BridgeSettings
from bridge.supervisor import METRICS_VARIABLE, SUCCESSOR_VARIABLE, Place, Supervisor
from openbsp.allocator import return_large_blocks
from openbsp.commands import ExitCode, complain
from openbsp.errors import InheritedSocketError, TokensError
from openbsp.handover import inherited_listener
from openbsp.http.listener import listen
from openbsp.http.settings import LogLevel
from openbsp.http.tokens.source import TokenSource
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.log import LineWriter, event, log_loop_faults, start_logging, start_plain_logging

_log = logging.getLogger(__name__)

#: What an upgrade passes to its successor: the process id of the supervisor to replace, and its spools' first number
#: and count, which are in use until it has ended.
_UPGRADE_VARIABLE = "OPENBSP_UPGRADE_FROM"

#: How long a start waits for the workers of a supervisor that was killed: they end by themselves.
_ORPHANS_S = 5.0
_LOOK_AGAIN_S = 0.02
#: As PATIENCE_S, while requests wait for a worker that was replaced.
_PATIENCE_OF_A_REPLACEMENT_S = 0.3


def run(settings: BridgeSettings, kafka: KafkaSettings, registry: RegistrySettings, topics: TopicSettings) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit code (see ExitCode). Reasons go to standard error and the log.

    Events are accepted from the first moment on; those that Kafka cannot take yet are spooled.
    """
    start_plain_logging(settings.log_level.value, sys.stdout.fileno())
    predecessor, first = _predecessor(settings.workers)
    announce = _announcement()
    try:
        tokens = TokenSource(settings)
        listener = inherited_listener(os.environ) or _listen(settings, first)
    except OSError as error:
        return _not_started(f"{settings.host}:{settings.port}: {error.strerror}")
    except (InheritedSocketError, TokensError) as error:
        return _not_started(str(error))
    with listener:
        return Supervisor(
            _worker,
            _Work(settings, kafka, registry, topics, listener, first, tokens, predecessor is not None),
            settings.workers,
            settings.shutdown_s,
            listener,
            predecessor=predecessor,
            will={_UPGRADE_VARIABLE: f"{os.getpid()}:{first}:{settings.workers}"},
            announce=announce,
            each_second=functools.partial(_keep_up, tokens),
            on_hup=functools.partial(_read_again, tokens),
        ).run()


def _not_started(why: str) -> ExitCode:
    _log.critical("not started: %s", why, extra=event("process.not_started"))
    complain("bridge", why)
    return ExitCode.NOT_STARTED


def _predecessor(workers: int) -> tuple[int | None, int]:
    """Return the supervisor to replace, None if there is none, and the first number for spools."""
    text = os.environ.pop(_UPGRADE_VARIABLE, None)
    if text is None:
        return None, 0
    pid, its_first, its_count = map(int, text.split(":"))
    return pid, 0 if workers <= its_first else its_first + its_count


def _announcement() -> int | None:
    """Return the descriptor that signals readiness to the former supervisor, None if there is none."""
    text = os.environ.pop(SUCCESSOR_VARIABLE, None)
    if text is None:
        return None
    descriptor = int(text)
    os.set_inheritable(descriptor, False)  # noqa: FBT003 the function's own signature
    return descriptor


def _keep_up(tokens: TokenSource) -> None:
    """Update the usable tokens, for workers that are started later."""
    if tokens.settled():
        _read_again(tokens)


def _read_again(tokens: TokenSource) -> None:
    with contextlib.suppress(TokensError):  # the workers say what is wrong with them
        tokens.reload()


def _listen(settings: BridgeSettings, first: int) -> socket.socket:
    """Return the listening socket. Raises OSError."""
    deadline = time.monotonic() + _ORPHANS_S
    spool, ended = spool_path(settings.spool_dir, first), False
    while True:
        try:
            return listen(settings.host, settings.port)
        except OSError as error:
            # Workers of a killed supervisor still answer for a while; any other process with the address keeps it.
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline or ended:
                raise
        # Trap: a process that ends may give up its spool before its socket, so there is one more attempt after it.
        ended = not _in_use(spool)
        time.sleep(_LOOK_AGAIN_S)


def _in_use(spool: Path) -> bool:
    with contextlib.suppress(OSError):  # the worker says what is wrong with it
        return is_held(spool)
    return False


def _worker(place: Place, work: "_Work") -> int:
    if METRICS_VARIABLE in os.environ:
        # Trap: prometheus_client decides at import, which the supervisor did before it was one of several.
        values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
    return_large_blocks()
    lines = start_logging(work.settings.log_level.value, sys.stdout.fileno())
    try:
        code = work.do(place, lines)
        return WORKER_NOT_STARTED if code is ExitCode.NOT_STARTED else code
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
    #: The spools of the workers have the numbers from this one on.
    first_spool: int
    #: The latest usable tokens: a replaced worker must start although the file is unusable just now.
    tokens: TokenSource
    #: Whether a former bridge keeps running if these workers do not start.
    is_upgrade: bool

    def do(self, place: Place, lines: LineWriter) -> ExitCode:
        """Serve, with a spool of its own, until it is stopped."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        try:
            spool_file = self._open_spool(place)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(self._serve(place, spool_file, lines))
        except (BridgeError, ContractError, TokensError) as error:
            return _not_started(str(error))

    def _open_spool(self, place: Place) -> SpoolFile:
        # A failing disk does not keep Kafka from taking events. In an upgrade, the former bridge continues instead.
        late = not self.is_upgrade or place.restarts > 0
        deadline = time.monotonic() + _ORPHANS_S
        while True:
            try:
                return SpoolFile(spool_path(self.settings.spool_dir, self.first_spool + place.number), late=late)
            except SpoolInUseError:
                # As above; and connections wait rather than being refused.
                if time.monotonic() > deadline:
                    raise
            time.sleep(_LOOK_AGAIN_S)

    async def _serve(self, place: Place, spool_file: SpoolFile, lines: LineWriter) -> ExitCode:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        log_loop_faults(loop)
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, _stop, stop, self.settings.shutdown_s)
        # A worker whose supervisor was killed shuts down gracefully: a new one waits for its spool.
        loop.add_reader(place.supervisor, _supervisor_gone, place.supervisor, stop)
        world = outside(self.kafka, self.registry, self.topics)
        request_lines = lines if self.settings.log_level in {LogLevel.DEBUG, LogLevel.INFO} else None
        patience_s = _PATIENCE_OF_A_REPLACEMENT_S if place.restarts else PATIENCE_S
        wanted = asyncio.Event()
        if spool_file.unopened is None:
            loop.add_reader(self.listener, _request_waits, self.listener, wanted)
        else:
            # Requests answered before Kafka and the registry have answered would be refused.
            patience_s = PATIENCE_S
        async with running(
            self.settings,
            world,
            place.number,
            spool_file,
            request_lines,
            patience_s=patience_s,
            restarts=place.restarts,
            tokens=self.tokens,
            wanted=wanted,
        ) as service:
            loop.remove_reader(self.listener)
            loop.add_signal_handler(signal.SIGHUP, service.access.reload)
            # Current objects stay, and a request hardly ever leaves a cycle.
            gc.freeze()
            gc.set_threshold(50_000, 20, 50)
            address = self.listener.getsockname()
            listening = event("http.listening", port=address[1], state=health.state(service), worker=place.number)
            _log.info("listening on http://%s:%d, %s", *address[:2], health.state(service), extra=listening)
            place.ready()
            await serve_until(stop, service, self.listener)
            left = service.spool.events
            stopped = event("process.stopped", worker=place.number, spool_events=left)
            _log.info("stopped: all requests are answered, %d events are in the spool", left, extra=stopped)
            return ExitCode.FAILED if service.failed.done() else ExitCode.OK


def _request_waits(listener: socket.socket, wanted: asyncio.Event) -> None:
    # Trap: it stays readable until a connection is accepted.
    asyncio.get_running_loop().remove_reader(listener)
    wanted.set()


def _stop(stop: asyncio.Event, limit_s: float) -> None:
    """Shut down gracefully; if that takes too long, such as with a disk that hangs, end at once."""
    if not stop.is_set():
        stop.set()
        guard = threading.Timer(limit_s, os._exit, [ExitCode.FAILED])
        guard.daemon = True
        guard.start()


def _supervisor_gone(descriptor: int, stop: asyncio.Event) -> None:
    asyncio.get_running_loop().remove_reader(descriptor)
    message = "supervisor died: this worker finishes requests in progress and exits"
    _log.error(message, extra=event("worker.orphaned"))
    stop.set()
