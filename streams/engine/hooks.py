"""Hooks: the engine's events. They work without subscribers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, ParamSpec

from streams.engine.assignment import Assignment
from streams.engine.source import Record

P = ParamSpec("P")
At = tuple[str, int]


class Hook(Generic[P]):
    """Calls all subscribers, in the order of subscription, on the event loop's thread.

    They are called while things happen, so they must be quick and must not fail.
    """

    __slots__ = ("_listeners",)

    def __init__(self) -> None:
        """Start without subscribers."""
        self._listeners: tuple[Callable[P, None], ...] = ()

    def add(self, listener: Callable[P, None]) -> None:
        """Add a subscriber."""
        self._listeners = (*self._listeners, listener)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call all subscribers."""
        for listener in self._listeners:
            listener(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class Hooks:
    """The engine's events."""

    #: Changelog records read, and at most to be read.
    restoring: Hook[[int, int]] = field(default_factory=Hook)
    #: A restored assignment, before anything is merged, and the ends of its guarded logs.
    began: Hook[[Assignment, Mapping[At, int]]] = field(default_factory=Hook)
    #: A batch that is about to be given to the agents.
    took: Hook[[Sequence[Record]]] = field(default_factory=Hook)
    #: A batch is processed completely.
    joined: Hook[[Sequence[Record]]] = field(default_factory=Hook)
    #: Changes were written that have waited for so many seconds.
    flushed: Hook[[float]] = field(default_factory=Hook)
    #: A checkpoint is acknowledged completely; its oldest event was received at that time.
    settled: Hook[[int | None]] = field(default_factory=Hook)
    #: Something may have been merged or acknowledged since the last call.
    advanced: Hook[[]] = field(default_factory=Hook)
    #: A record is acknowledged (topic, partition, offset); in order within a partition of a topic.
    acknowledged: Hook[[str, int, int]] = field(default_factory=Hook)
    #: So many records of a topic were deleted before they were read.
    records_lost: Hook[[str, int]] = field(default_factory=Hook)
    #: The committed position of a partition of a topic is not followed: reading begins with its first record.
    position_refused: Hook[[str]] = field(default_factory=Hook)
    #: A partition of this guarded log (its name) was emptied, cut or recreated; it is rewritten.
    log_repaired: Hook[[str]] = field(default_factory=Hook)
    #: The tables were made with so many partitions, the topics have another number: nothing is joined.
    partitions_changed: Hook[[int]] = field(default_factory=Hook)
    #: A store of this table (its changelog's name) was damaged; it is set aside, and read from the changelog.
    store_set_aside: Hook[[str]] = field(default_factory=Hook)
    #: An event of this source (topic) has ended workers, and is set aside.
    event_set_aside: Hook[[str]] = field(default_factory=Hook)
    #: How many changelog records each standby copy lacks, by table (its changelog's name) and partition.
    followed: Hook[[Mapping[At, int]]] = field(default_factory=Hook)
    #: Nothing is owned any more; pending changes are still written.
    lost: Hook[[]] = field(default_factory=Hook)
