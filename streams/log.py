"""Log lines of a worker. Of exceptions they have the type and where they were raised.

Their texts may quote what was received: only those of this project's and of the operating system's are written.
"""

import logging
import traceback
from typing import Any

from avro.errors import ContractError
from streams.errors import StreamsError

#: Their texts are of servers, files and addresses.
_TELLING = (ContractError, StreamsError, OSError)

_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def describe(error: BaseException) -> str:
    """Return the type of an exception, with its text if that was written for readers of the log."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, _TELLING) else name


class Formatter(logging.Formatter):
    """Writes exceptions as `describe` has them, as a message's arguments too."""

    def __init__(self) -> None:
        """Begin each line with the time, the level and the logger."""
        super().__init__(_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        shown = logging.makeLogRecord(record.__dict__)
        shown.exc_text = None  # another formatter's
        if isinstance(record.args, tuple):
            shown.args = tuple(_shown(argument) for argument in record.args)
        return super().format(shown)

    def formatException(self, ei: Any) -> str:  # noqa: N802 the name in logging
        """Return the types and the frames, the cause of each after it."""
        lines = []
        error: BaseException | None = ei[1]
        seen = set()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            lines.append(describe(error))
            lines += [f"  {f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n".join(lines)


def start_logging(level: str) -> None:
    """Send the whole process's log to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("faust", "mode", "aiokafka", "httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _shown(argument: object) -> object:
    return (
        describe(argument) if isinstance(argument, BaseException) and not isinstance(argument, _TELLING) else argument
    )
