"""What the workers of `bridge serve` exit with, besides the codes of every command."""

#: How a worker tells its supervisor of ExitCode.NOT_STARTED, whose number an uncaught exception has as well.
WORKER_NOT_STARTED = 78
