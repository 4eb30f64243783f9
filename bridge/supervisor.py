"""The workers on one listening socket: started together, replaced when they die, stopped together, upgraded.

The supervisor holds the socket and serves no requests. While a worker is replaced, connections wait in the socket's
backlog.
"""

import contextlib
import functools
import gc
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from prometheus_client import multiprocess

from bridge.exits import WORKER_NOT_STARTED
from bridge.forked import Forked
from openbsp.commands import ExitCode
from openbsp.handover import notify, variables_for
from openbsp.log import event

_log = logging.getLogger(__name__)

T = TypeVar("T")

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
#: Since when the metrics of several workers count: a replacement continues with its predecessor's values.
STARTED_NS = time.time_ns()
#: The descriptor on which a successor reports readiness, before it stops its predecessor.
SUCCESSOR_VARIABLE = "OPENBSP_UPGRADE_READY_FD"
#: A worker that dies is replaced at once. If its replacement dies sooner than this, the next one waits.
_SETTLED_S = 5.0
_FIRST_PAUSE_S = 0.25
#: The pause doubles up to this.
_LONGEST_PAUSE_S = 30.0
_FORK_AGAIN_S = 1.0
_LOOK_EVERY_S = 1.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: A worker that was stopped before it could handle signals has stored nothing yet.
_IN_ORDER = (ExitCode.OK, -signal.SIGTERM)


class Place:
    """A worker's place: `number` among its siblings, how often it was restarted, where to report."""

    def __init__(self, number: int, restarts: int, supervisor: int, news: int) -> None:
        """`supervisor` and `news` are descriptors: of a pipe that ends with the supervisor, and of one to it."""
        self.number = number
        self.restarts = restarts
        #: A descriptor that becomes readable when the supervisor is gone.
        self.supervisor = supervisor
        self._news = news

    def ready(self) -> None:
        """Report to the supervisor that this worker answers."""
        os.write(self._news, bytes([self.number]))


class Supervisor(Generic[T]):
    """Runs `target(place, argument)` in `count` processes, each of which exits with what that returns.

    A worker that exits with WORKER_NOT_STARTED at the first attempt ends all of them, as a single process would end.
    One that ends in any other way is replaced, and retried for as long as it takes: its servers may recover, and the
    other workers serve.

    SIGUSR2 starts the program again with the same socket. When the workers of that successor are ready, this supervisor
    and its workers end; if it fails before, they go on. SIGTERM and SIGINT also end a successor that is not ready yet:
    a stopped service must not be running in another process.
    """

    def __init__(
        self,
        target: Callable[[Place, T], int],
        argument: T,
        count: int,
        patience_s: float,
        listener: socket.socket,
        *,
        predecessor: int | None = None,
        will: Mapping[str, str] | None = None,
        announce: int | None = None,
        each_second: Callable[[], None] = lambda: None,
        on_hup: Callable[[], None] = lambda: None,
    ) -> None:
        """Start nothing yet. A worker that takes longer than `patience_s` seconds to end is killed.

        `predecessor` is the process id of the supervisor to stop when all workers are ready, and `announce` the
        descriptor on which readiness is reported; `will` has variables for a successor. Workers that are started later
        get the changes that `each_second` and `on_hup` make to `argument`.
        """
        self._target = target
        self._argument = argument
        self._count = count
        self._patience_s = patience_s
        self._listener = listener
        self._predecessor = predecessor
        self._announce = announce
        self._each_second = each_second
        self._on_hup = on_hup
        self._looked_at = time.monotonic()
        self._will = will or {}
        self._successor: subprocess.Popen[bytes] | None = None
        #: Readable once the successor is ready.
        self._successor_ready: int | None = None
        self._workers: dict[int, Forked] = {}
        self._due: dict[int, float] = dict.fromkeys(range(count), 0.0)
        #: Seconds that the latest replacement waited, by the numbers that were ever replaced.
        self._pauses: dict[int, float] = {}
        self._restarts: dict[int, int] = dict.fromkeys(range(count), 0)
        self._ready: set[int] = set()
        self._kill_at: float | None = None
        self._code = ExitCode.OK
        # The write end of the first is open in this process alone, and closes with it, however it ends.
        self._alive, self._alive_end = os.pipe()
        self._news, self._news_end = os.pipe()

    def run(self) -> ExitCode:
        """Return when all workers have ended: after SIGTERM or SIGINT, or because one could not start."""
        with _metrics_directory(self._count) as metrics, _signals() as inbox:
            # Current objects are shared with the workers, as long as they are not written to.
            gc.collect()
            gc.freeze()
            while self._due or self._workers or self._awaits_successor():
                self._start_due()
                ready, _, _ = select.select([inbox.fileno(), self._news], [], [], self._pause())
                if inbox.fileno() in ready:
                    for number in inbox.recv(64):
                        self._handle(signal.Signals(number))
                if self._news in ready:
                    self._heard(os.read(self._news, 64))
                self._reap(metrics)
                self._look_at_successor()
                self._look_around()
                if self._kill_at is not None and time.monotonic() >= self._kill_at:
                    self._kill()
        return self._code

    def _look_around(self) -> None:
        if time.monotonic() - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            self._each_second()

    def _kill(self) -> None:
        for worker in self._workers.values():
            worker.send(signal.SIGKILL)
        if self._successor is not None and self._awaits_successor():
            # Its workers end by themselves then.
            self._successor.kill()
        self._kill_at = time.monotonic() + 1

    def _start_due(self) -> None:
        now = time.monotonic()
        for number in [number for number, at in self._due.items() if at <= now]:
            del self._due[number]
            place = Place(
                number,
                self._restarts[number],
                self._alive,
                self._news_end,
            )
            work = functools.partial(self._target, place, self._argument)
            try:
                own = (self._alive_end, self._news, *(() if self._announce is None else (self._announce,)))
                self._workers[number] = Forked(work, own)
            except OSError as error:
                # Trap: what ended a worker, no memory or no process, fails here as well; the other workers serve.
                failed = event("worker.not_forked", worker=number, pause_s=_FORK_AGAIN_S)
                _log.error(
                    "worker %d cannot be started, tried again in %g s: %s", number, _FORK_AGAIN_S, error, extra=failed
                )
                self._due[number] = now + _FORK_AGAIN_S

    def _pause(self) -> float:
        moments = [*self._due.values(), *([] if self._kill_at is None else [self._kill_at])]
        return max(0.0, min([*moments, self._looked_at + _LOOK_EVERY_S]) - time.monotonic())

    def _handle(self, number: signal.Signals) -> None:
        if number in _STOP_SIGNALS:
            self._stop()
        elif number is signal.SIGUSR2:
            self._upgrade()
        elif number is signal.SIGHUP:
            self._on_hup()
            for worker in self._workers.values():
                worker.send(number)

    def _stop(self) -> None:
        self._due.clear()
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._patience_s
            if not self._is_replaced():
                notify("STOPPING=1")
            # New connections go to another process with the socket, or are refused: none must wait in a queue that ends
            # with this process.
            self._listener.close()
        for worker in self._workers.values():
            worker.send(signal.SIGTERM)
        if self._successor is not None and self._awaits_successor():
            stopped = event("upgrade.stopped", process=self._successor.pid)
            _log.warning("stopping: the upgrade that is running is stopped as well", extra=stopped)
            self._successor.terminate()

    def _is_replaced(self) -> bool:
        """Whether a successor serves."""
        ready = self._successor_ready
        return ready is not None and bool(select.select([ready], [], [], 0)[0]) and self._successor_runs()

    def _successor_runs(self) -> bool:
        return self._successor is not None and self._successor.poll() is None

    def _awaits_successor(self) -> bool:
        """Whether this process ends, and a successor that was to replace it has to end before."""
        return self._kill_at is not None and self._successor_runs() and not self._is_replaced()

    def _heard(self, numbers: bytes) -> None:
        complete = len(self._ready) == self._count
        self._ready.update(numbers)
        if complete or len(self._ready) < self._count:
            return
        notify(f"READY=1\nMAINPID={os.getpid()}")
        predecessor, self._predecessor = self._predecessor, None
        # Only by its parent: otherwise the number could be another process's by now.
        if predecessor is not None and predecessor == os.getppid():
            replaced = event("upgrade.completed", replaced=predecessor)
            _log.info("upgrade completed: all workers are ready, process %d is stopped", predecessor, extra=replaced)
            if self._announce is not None:
                os.write(self._announce, b".")
            os.kill(predecessor, signal.SIGTERM)

    def _upgrade(self) -> None:
        if self._kill_at is not None or (self._successor is not None and self._successor.poll() is None):
            _log.warning("SIGUSR2 ignored: stopping, or an upgrade is running", extra=event("upgrade.ignored"))
            return
        command = [sys.executable, *sys.orig_argv[1:]]
        environment = {**os.environ, **variables_for(self._listener), **self._will}
        environment.pop(METRICS_VARIABLE, None)
        if self._successor_ready is not None:
            os.close(self._successor_ready)
        self._successor_ready, ready_end = os.pipe()
        environment[SUCCESSOR_VARIABLE] = str(ready_end)
        try:
            descriptors = [self._listener.fileno(), ready_end]
            self._successor = subprocess.Popen(command, env=environment, pass_fds=descriptors)  # noqa: S603 this program
        except OSError as error:
            _log.error("upgrade failed, this process keeps serving: %s", error, extra=event("upgrade.failed"))
            return
        finally:
            os.close(ready_end)
        pid = self._successor.pid
        _log.info("upgrade: process %d started with the same socket", pid, extra=event("upgrade.started", process=pid))

    def _look_at_successor(self) -> None:
        if self._successor is None or self._kill_at is not None:
            return
        code = self._successor.poll()
        if code is not None:
            self._successor = None
            failed = event("upgrade.failed", exit_code=code)
            _log.error("upgrade failed, this process keeps serving: the new one exited with %d", code, extra=failed)

    def _reap(self, metrics: str | None) -> None:
        for number, worker in list(self._workers.items()):
            code = worker.exitcode
            if code is None:
                continue
            del self._workers[number]
            if metrics is not None:
                multiprocess.mark_process_dead(worker.pid, metrics)  # type: ignore[no-untyped-call]
            if self._kill_at is not None:
                if code not in _IN_ORDER and self._code is ExitCode.OK:
                    self._code = ExitCode.FAILED
            elif code == WORKER_NOT_STARTED and number not in self._pauses:
                self._code = ExitCode.NOT_STARTED
                self._stop()
            else:
                self._replace(number, code, time.monotonic() - worker.started)

    def _replace(self, number: int, code: int, lived_s: float) -> None:
        former = self._pauses.get(number)
        if former is None or lived_s >= _SETTLED_S:
            pause = 0.0
        else:
            pause = min(max(_FIRST_PAUSE_S, former * 2), _LONGEST_PAUSE_S)
        self._pauses[number] = pause
        self._restarts[number] += 1
        values = event("worker.replaced", worker=number, exit_code=code, lived_s=round(lived_s, 3), pause_s=pause)
        text = "worker %d exited with %d after %.1f s, replaced in %g s"
        _log.error(text, number, code, lived_s, pause, extra=values)
        self._due[number] = time.monotonic() + pause


@contextlib.contextmanager
def _metrics_directory(count: int) -> Iterator[str | None]:
    """Give several workers a directory where prometheus_client shares their values; a single one needs none."""
    if count == 1:
        os.environ.pop(METRICS_VARIABLE, None)
        yield None
        return
    directory = tempfile.mkdtemp(prefix="bridge-metrics-")
    os.environ[METRICS_VARIABLE] = directory
    try:
        yield directory
    finally:
        del os.environ[METRICS_VARIABLE]
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Yield a socket that receives signal numbers, a byte each."""
    inbox, outbox = socket.socketpair()
    outbox.setblocking(False)  # noqa: FBT003 the socket's own signature
    numbers = (*_STOP_SIGNALS, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)
    former = {number: signal.signal(number, lambda *_: None) for number in numbers}
    former_descriptor = signal.set_wakeup_fd(outbox.fileno())
    try:
        yield inbox
    finally:
        signal.set_wakeup_fd(former_descriptor)
        for number, handler in former.items():
            signal.signal(number, handler)
        inbox.close()
        outbox.close()
