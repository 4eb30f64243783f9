"""Exit codes of `bridge serve`."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a serving process ended."""

    OK = 0
    #: It did not start: settings, spool or topics are wrong, and would be wrong again.
    NOT_STARTED = 1
    #: It served, and then a part of it failed; a new start helps.
    FAILED = 3


#: How one of several workers tells its supervisor of NOT_STARTED, whose number an uncaught exception has as well.
WORKER_NOT_STARTED = 78
