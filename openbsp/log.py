"""The log of a process: a JSON object a line on standard output, or readable text on a terminal.

Each line has an event, a name that stays the same when its text changes (`spool.not_written`), for searches and
alarms. A line gets its event by `extra=event(...)`.

Exceptions are written by their type and where they were raised. The text of one is written only if the exception is
ours, or the operating system's: others may quote received data.
"""

import asyncio
import json
import logging
import os
import select
import sys
import threading
import time
import traceback
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_encode = msgspec.json.Encoder(enc_hook=str).encode
_log = logging.getLogger(__name__)

#: Lines that may wait for a stalled reader of the log before lines are dropped.
_CAPACITY = 100_000
_INTERVAL_S = 0.1

#: The packages whose exceptions have texts that are safe for the log.
_OURS = frozenset({"avro", "openbsp", "bridge", "streams"})
#: Loggers of libraries that log warnings only.
_NOISY = ("aiokafka", "asyncio", "faust", "httpcore", "httpcore2", "httpx", "httpx2", "mode", "uvicorn")
#: Members of every line, which its text shows in a form of its own.
_USUAL = frozenset({"time", "level", "event", "logger", "message", "error", "trace"})


def event(name: str, **values: object) -> dict[str, Any]:
    """Return the `extra` that gives a line its event, and additional members of its JSON object."""
    return {"event": name, "values": values}


def describe(error: BaseException) -> str:
    """Return the type of an exception, with its text if that is safe for the log."""
    name = type(error).__name__
    if type(error).__module__.partition(".")[0] in _OURS:
        return f"{name}: {error}"
    if isinstance(error, OSError) and error.strerror:
        # Not its text: clients of HTTP and of Kafka derive their exceptions from it.
        return f"{name}: {error.strerror}" + (f": {error.filename}" if isinstance(error.filename, str) else "")
    return name


class LineWriter:
    """Writes lines from a thread of its own, in batches. `write` never blocks; it drops lines when too many wait."""

    def __init__(self, descriptor: int) -> None:
        """Start the thread."""
        self.dropped: Callable[[], None] = lambda: None
        #: Whether lines are for people, and should be text rather than JSON.
        self.text = os.isatty(descriptor)
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Queue a line, with its line feed, for writing."""
        if self._stop.is_set():
            self._put(line)  # the last lines of a process, after it has closed its log
        elif len(self._lines) < _CAPACITY:
            self._lines.append(line)
        else:
            self.dropped()

    def close(self, timeout: float = 1.0) -> None:
        """Write queued lines, if the reader takes them within `timeout` seconds."""
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
                # Trap: workers share the pipe, which separates only lines that are written at once and are not too
                # long.
                end = data.rfind(b"\n", start, start + select.PIPE_BUF) + 1 or data.find(b"\n", start) + 1
                while start < end:
                    start += os.write(self._descriptor, view[start:end])
        except OSError:
            # The reader of the log is gone, or its disk is full. Serving goes on, and the metric counts it.
            self.dropped()


class DirectWriter:
    """Writes lines at once, for a process without threads. Lines that the reader does not take are lost."""

    _PATIENCE_S = 0.1

    def __init__(self, descriptor: int) -> None:
        """Write to `descriptor`."""
        self.dropped: Callable[[], None] = lambda: None
        self.text = os.isatty(descriptor)
        self._descriptor = descriptor

    def write(self, line: bytes) -> None:
        """Write a line that has its line feed."""
        try:
            if select.select([], [self._descriptor], [], self._PATIENCE_S)[1]:
                os.write(self._descriptor, line)
                return
        except OSError:
            pass
        self.dropped()

    def close(self) -> None:
        """Do nothing: all is written."""


class LogHandler(logging.Handler):
    """Writes records of Python's logging as lines."""

    def __init__(self, writer: LineWriter | DirectWriter) -> None:
        """Write to `writer`."""
        super().__init__()
        self.writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of a record."""
        line = line_of(record)
        try:
            data = as_text(line).encode() if self.writer.text else _encode(line)
        except UnicodeEncodeError:
            # A file name or an argument that is not UTF-8.
            data = json.dumps(line, default=str).encode()
        self.writer.write(data + b"\n")

    def close(self) -> None:
        """Write queued lines; see logging.shutdown."""
        self.writer.close()
        super().close()


def line_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return the members of a record's line."""
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "level": record.levelname,
        # Lines of libraries have no event: their logger takes its place.
        "event": getattr(record, "event", record.name),
        "logger": record.name,
        "message": _message(record),
        **getattr(record, "values", {}),
    }
    if record.exc_info and record.exc_info[1] is not None:
        errors = _chain(record.exc_info[1])
        line["error"] = " <- ".join(describe(error) for error in errors)
        line["trace"] = [
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for error in errors
            for frame in traceback.extract_tb(error.__traceback__)
        ]
    return line


def as_text(line: "Mapping[str, Any]") -> str:
    """Return a line's members for people to read."""
    words = [str(line.get("time", "")), f"{line.get('level', 'INFO'):7}", str(line.get("event", "-"))]
    if "message" in line:
        # Some of ours have several lines. None may begin like a line of the log.
        words.append("\n    ".join(map(_harmless, str(line["message"]).split("\n"))))
    words += [f"{name}={_harmless(value)}" for name, value in line.items() if name not in _USUAL and value is not None]
    if "error" in line:
        words.append(f"[{_harmless(line['error'])}]")
    return "\n    ".join([" ".join(words), *line.get("trace", ())])


def _harmless(value: object) -> str:
    """Return a text without terminal control characters: clients choose some of the logged data."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _message(record: logging.LogRecord) -> str:
    message = str(_shown(record.msg))
    if not record.args:
        return message
    arguments = tuple(map(_shown, record.args)) if isinstance(record.args, tuple) else record.args
    try:
        return message % arguments
    except (TypeError, ValueError):
        # A plain line rather than none: it may be the last one.
        return f"{message} {arguments}"


def _shown(argument: Any) -> Any:
    """Return the form of a message's argument: of an exception, the result of `describe`."""
    if not isinstance(argument, BaseException):
        return argument
    if type(argument).__module__.partition(".")[0] in _OURS:
        return str(argument)
    return describe(argument)


def _chain(error: BaseException) -> list[BaseException]:
    """Return an exception and its causes."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return found


class FirstLines:
    """Of lines that anybody can cause, and many in a short time: the first are written, the rest are a number."""

    _LINES = 10
    _EVERY_S = 10.0

    def __init__(self) -> None:
        """Start with nothing written."""
        self._since = float("-inf")
        self._count = 0

    def next(self) -> int | None:
        """Return how many lines before this one were not written; None if this one is not to be written either."""
        now = time.monotonic()
        unwritten = 0
        if now - self._since >= self._EVERY_S:
            unwritten = max(0, self._count - self._LINES)
            self._since, self._count = now, 0
        self._count += 1
        return unwritten if self._count <= self._LINES else None


class SeldomFilter(logging.Filter):
    """Rate-limits lines with the same beginning: during an outage librdkafka writes dozens a second."""

    _ALIKE_CHARACTERS = 24
    _EVERY_S = 30.0

    def __init__(self) -> None:
        """Start with nothing seen."""
        super().__init__()
        self._next: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written."""
        beginning = record.getMessage()[: self._ALIKE_CHARACTERS]
        if record.created < self._next.get(beginning, 0.0):
            return False
        self._next[beginning] = record.created + self._EVERY_S
        return True


def start_logging(level: str, descriptor: int | None = None) -> LineWriter:
    """Send the whole process's log to `descriptor` (standard output) and return its writer.

    Warnings and uncaught exceptions are lines too.
    """
    writer = LineWriter(sys.stdout.fileno() if descriptor is None else descriptor)
    _log_to(writer, level)
    return writer


def start_plain_logging(level: str, descriptor: int | None = None) -> None:
    """Do as `start_logging`, without a thread: for a process that forks."""
    _log_to(DirectWriter(sys.stdout.fileno() if descriptor is None else descriptor), level)


def _log_to(writer: LineWriter | DirectWriter, level: str) -> None:
    root = logging.getLogger()
    root.handlers = [LogHandler(writer)]
    root.setLevel(level)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(max(root.level, logging.WARNING))
    logging.getLogger("librdkafka").filters = [SeldomFilter()]
    logging.captureWarnings(True)  # noqa: FBT003 the function's own signature
    sys.excepthook = lambda _, error, __: _log_uncaught(error)
    threading.excepthook = lambda given: _log_uncaught(given.exc_value)


def count_dropped_lines(count: "Callable[[], None]") -> None:
    """Call `count` for each line of the process's log that is dropped."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogHandler):
            handler.writer.dropped = count


def log_loop_faults(loop: asyncio.AbstractEventLoop) -> None:
    """Log errors of a loop's callbacks and forgotten tasks like everything else."""

    def log(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # Trap: asyncio's own log line has the exception's text in that of the task.
        _log.error("%s", context["message"], exc_info=context.get("exception"), extra=event("process.loop_fault"))

    loop.set_exception_handler(log)


def _log_uncaught(error: BaseException | None) -> None:
    if error is not None and not isinstance(error, KeyboardInterrupt):
        _log.critical("uncaught exception", exc_info=error, extra=event("process.uncaught_exception"))
