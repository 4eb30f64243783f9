"""A child process that is a copy of this one: it needs no time for a new interpreter and its imports."""

import os
import signal
import sys
import time
from collections.abc import Callable

_OF_THE_PARENT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)
#: What an uncaught exception exits with.
_FAULT = 1


class Forked:
    """A running child. Only a process without threads may make one: locks that a thread holds stay locked in the copy.

    `exitcode` is None while it runs, then its exit status, negative for a signal.
    """

    def __init__(self, work: Callable[[], int], close: tuple[int, ...] = ()) -> None:
        """Start a child that closes the descriptors `close`, does `work`, and exits with what that returns."""
        self.started = time.monotonic()
        self._status: int | None = None
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or both processes write what is still in the buffer
        # A signal before the child has handlers of its own must neither reach the parent's nor be lost.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_PARENT)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _be_child(work, close, former)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

    @property
    def exitcode(self) -> int | None:
        """Return its exit status if it has ended."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.exitcode is None:
            os.kill(self.pid, number)


def _be_child(work: Callable[[], int], close: tuple[int, ...], mask: "set[signal.Signals | int]") -> None:
    code = _FAULT
    try:
        signal.set_wakeup_fd(-1)
        for descriptor in close:
            os.close(descriptor)
        for number in _OF_THE_PARENT:
            # Until there are tokens to be read again, that signal must not end the process; an upgrade is the parent's.
            ignored = number in {signal.SIGHUP, signal.SIGUSR2}
            signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = work()
    except BaseException:  # noqa: BLE001 the copy of the parent's stack must never be returned to
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
