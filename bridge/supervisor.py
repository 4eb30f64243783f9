"""Several workers on one address: started together, replaced when they die, ended together."""

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Generic, TypeVar

from prometheus_client import multiprocess

from bridge.exits import WORKER_NOT_STARTED, ExitCode

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

_log = logging.getLogger(__name__)

T = TypeVar("T")

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

#: Before a dead worker is replaced, so that one that dies at once does not keep the machine busy.
_PAUSE_S = 1.0
#: The pause doubles up to this while replacements cannot start.
_LONGEST_PAUSE_S = 30.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: A worker that was told to end before it could listen to signals has stored nothing yet.
_IN_ORDER = (ExitCode.OK, -signal.SIGTERM)


class Supervisor(Generic[T]):
    """Runs `target(number, argument)` in `count` processes; the exit code of a process is what `target` exits with.

    A worker that exits with WORKER_NOT_STARTED at the first attempt ends all of them, as a single process would end.
    One that ends in any other way is replaced, and its replacements are tried for as long as it takes: what they
    cannot reach may come back, and the other workers serve.
    """

    def __init__(self, target: Callable[[int, T], None], argument: T, count: int, patience_s: float) -> None:
        """Start nothing yet. A worker that takes longer than `patience_s` seconds to end is killed."""
        self._context = multiprocessing.get_context("spawn")
        self._target = target
        self._argument = argument
        self._patience_s = patience_s
        self._workers: dict[int, SpawnProcess] = {}
        self._due: dict[int, float] = dict.fromkeys(range(count), 0.0)
        self._pauses: dict[int, float] = {}  # before the next replacement, by the numbers that were ever replaced
        self._kill_at: float | None = None
        self._code = ExitCode.OK

    def run(self) -> ExitCode:
        """Return when all workers have ended: after SIGTERM or SIGINT, or because one could not start."""
        with _metrics_directory() as metrics, _signals() as inbox:
            while self._due or self._workers:
                self._start_due()
                ready = wait([inbox, *(worker.sentinel for worker in self._workers.values())], self._pause())
                if inbox in ready:
                    for number in inbox.recv(64):
                        self._handle(signal.Signals(number))
                self._reap(metrics)
                if self._kill_at is not None and time.monotonic() >= self._kill_at:
                    for worker in self._workers.values():
                        worker.kill()
        return self._code

    def _start_due(self) -> None:
        now = time.monotonic()
        for number in [number for number, at in self._due.items() if at <= now]:
            del self._due[number]
            worker = self._context.Process(
                target=self._target, args=(number, self._argument), name=f"bridge-worker-{number}"
            )
            worker.start()
            self._workers[number] = worker

    def _pause(self) -> float | None:
        moments = [*self._due.values(), *([] if self._kill_at is None else [self._kill_at])]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _handle(self, number: signal.Signals) -> None:
        if number in _STOP_SIGNALS:
            self._stop()
        else:
            for worker in self._workers.values():
                if worker.pid is not None:
                    os.kill(worker.pid, number)

    def _stop(self) -> None:
        self._due.clear()
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._patience_s
        for worker in self._workers.values():
            worker.terminate()

    def _reap(self, metrics: str) -> None:
        for number, worker in list(self._workers.items()):
            if worker.exitcode is None:
                continue
            del self._workers[number]
            multiprocess.mark_process_dead(worker.pid, metrics)  # type: ignore[no-untyped-call]
            not_started = worker.exitcode == WORKER_NOT_STARTED
            if not_started and number not in self._pauses:
                self._code = ExitCode.NOT_STARTED
                self._stop()
            elif self._kill_at is None:
                pause = min(self._pauses[number] * 2, _LONGEST_PAUSE_S) if not_started else _PAUSE_S
                self._pauses[number] = pause
                _log.error("worker %d ended with %d and is replaced in %.0f s", number, worker.exitcode, pause)
                self._due[number] = time.monotonic() + pause
            elif worker.exitcode not in _IN_ORDER and self._code is ExitCode.OK:
                self._code = ExitCode.FAILED


@contextlib.contextmanager
def _metrics_directory() -> Iterator[str]:
    """Tell prometheus_client in the workers where they share their values."""
    directory = tempfile.mkdtemp(prefix="bridge-metrics-")
    os.environ[METRICS_VARIABLE] = directory
    try:
        yield directory
    finally:
        del os.environ[METRICS_VARIABLE]
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Yield a socket from which signal numbers can be read, a byte each."""
    inbox, outbox = socket.socketpair()
    outbox.setblocking(False)  # noqa: FBT003 the socket's own signature
    former = {number: signal.signal(number, lambda *_: None) for number in (*_STOP_SIGNALS, signal.SIGHUP)}
    former_descriptor = signal.set_wakeup_fd(outbox.fileno())
    try:
        yield inbox
    finally:
        signal.set_wakeup_fd(former_descriptor)
        for number, handler in former.items():
            signal.signal(number, handler)
        inbox.close()
        outbox.close()
