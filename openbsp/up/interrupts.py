"""Ctrl-C, SIGTERM and SIGHUP: the first one starts a graceful shutdown, the others wait for its end."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_READ_BYTES = 4096
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Whether shutdown was requested. Only in the main thread."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    @property
    def asked(self) -> bool:
        """Whether one of the signals arrived."""
        return self._asked.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep until a signal arrives, at most `seconds`; say whether one arrived."""
        return self._asked.wait(seconds)

    def at_end_of(self, descriptor: int) -> None:
        """Do as for SIGTERM when nothing more can be read from `descriptor`; what is read until then is ignored.

        The read end of a pipe becomes readable when the process that held the other end is gone, however it ended.
        """
        main_thread = threading.main_thread().ident
        assert main_thread is not None  # noqa: S101 this is running

        def read() -> None:
            while os.read(descriptor, _READ_BYTES):
                pass
            # To the main thread itself: a signal to the process could be delivered to a thread that wakes no other.
            signal.pthread_kill(main_thread, signal.SIGTERM)

        threading.Thread(target=read, name="end-of-input", daemon=True).start()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Leave the block when a signal arrives: at once, as KeyboardInterrupt, which is caught at the block's end.

        Signals that arrive while the block cleans up after the first one change nothing.
        """
        previous = {number: signal.signal(number, self._interrupt) for number in _SIGNALS}
        try:
            with suppress(KeyboardInterrupt):
                yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if not self._asked.is_set():
            self._asked.set()
            raise KeyboardInterrupt
