"""What the workers of `bridge serve` exit with, besides the codes of every command."""

#: How a worker reports ExitCode.NOT_STARTED to its supervisor: an uncaught exception has the same number.
WORKER_NOT_STARTED = 78
