"""Log lines: one JSON object each, on standard output, without making anyone wait for the reader of the log."""

import contextlib
import logging
import os
import select
import threading
import traceback
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

_encode = msgspec.json.Encoder().encode

#: Lines that a stalled reader of the log may leave waiting before lines are dropped.
_CAPACITY = 100_000
_INTERVAL_S = 0.1


class LineWriter:
    """Writes lines from a thread of its own, in batches. `write` never blocks; it drops lines when too many wait."""

    def __init__(self, descriptor: int) -> None:
        """Start the thread."""
        self.dropped: Callable[[], None] = lambda: None
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Write a line that has its line feed, soon."""
        if len(self._lines) < _CAPACITY:
            self._lines.append(line)
        else:
            self.dropped()

    def close(self, timeout: float = 1.0) -> None:
        """Write what waits, if the reader takes it within `timeout` seconds."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            # One wake-up for many lines: one for each would cost the event loop more than the line itself.
            stopping = self._stop.wait(_INTERVAL_S)
            batch = [self._lines.popleft() for _ in range(len(self._lines))]
            if batch:
                self._put(b"".join(batch))

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        start = 0
        try:
            while start < len(data):
                # Trap: workers share the pipe, which keeps apart only what is written at once and is not too long.
                end = data.rfind(b"\n", start, start + select.PIPE_BUF) + 1 or data.find(b"\n", start) + 1
                while start < end:
                    start += os.write(self._descriptor, view[start:end])
        except OSError:
            # Nobody reads the log any more, or its disk is full. Serving goes on, and the metric tells.
            self.dropped()


class DirectWriter:
    """Writes lines at once, for a process without threads. A line that the reader of the log does not take is lost."""

    _PATIENCE_S = 0.1

    def __init__(self, descriptor: int) -> None:
        """Write to `descriptor`."""
        self._descriptor = descriptor

    def write(self, line: bytes) -> None:
        """Write a line that has its line feed."""
        with contextlib.suppress(OSError):
            if select.select([], [self._descriptor], [], self._PATIENCE_S)[1]:
                os.write(self._descriptor, line)


class JsonHandler(logging.Handler):
    """Log records of Python's logging as lines of the same log.

    Of an exception it writes the type and where it was raised, not its text: that may quote what was received.
    """

    def __init__(self, writer: LineWriter | DirectWriter) -> None:
        """Write to `writer`."""
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of a record."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")[:-6] + "Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["trace"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(record.exc_info[2])
            ]
        self._writer.write(_encode(line) + b"\n")


class SeldomFilter(logging.Filter):
    """Lets lines that begin alike through once in a while: during an outage librdkafka writes dozens a second."""

    _ALIKE_CHARACTERS = 24
    _EVERY_S = 30.0

    def __init__(self) -> None:
        """Start with nothing seen."""
        super().__init__()
        self._next: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is written."""
        beginning = record.getMessage()[: self._ALIKE_CHARACTERS]
        if record.created < self._next.get(beginning, 0.0):
            return False
        self._next[beginning] = record.created + self._EVERY_S
        return True


def start_logging(level: str, descriptor: int) -> LineWriter:
    """Send the whole process's log to `descriptor` and return its writer, for lines that bypass Python's logging."""
    writer = LineWriter(descriptor)
    _log_to(writer, level)
    return writer


def start_plain_logging(level: str, descriptor: int) -> None:
    """Do as `start_logging`, without a thread: for a process that forks."""
    _log_to(DirectWriter(descriptor), level)


def _log_to(writer: LineWriter | DirectWriter, level: str) -> None:
    root = logging.getLogger()
    root.handlers = [JsonHandler(writer)]
    root.setLevel(level)
    for noisy in ("httpx", "httpx2", "httpcore", "httpcore2", "asyncio"):
        logging.getLogger(noisy).setLevel(max(root.level, logging.WARNING))
    librdkafka = logging.getLogger("librdkafka")
    librdkafka.filters = [SeldomFilter()]
