"""Errors of the program around the engine: of a worker's start, and of `streams repartition`."""

from streams.engine.errors import StreamsError


class ListenError(StreamsError):
    """The address of the views cannot be listened on."""


class RepartitionError(StreamsError):
    """A move to more partitions cannot be made, or not now."""
