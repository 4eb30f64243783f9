"""What the engine tells to those who watch it: the views and the metrics.

Calls are made while things happen, on the event loop's thread, so they must be quick and must not fail.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from streams.state.contribution import Contribution

if TYPE_CHECKING:
    from streams.agents.join import Join
    from streams.engine.source import Record

#: By topic and partition.
Offsets = Mapping[tuple[str, int], int]


class ConversationObserver(Protocol):
    """Watches the conversations of one partition."""

    def row_changed(self, conversation_id: str) -> None:
        """Hear that the row of a conversation has been merged."""

    def message_changed(
        self, conversation_id: str, message_id: str, old: Contribution | None, new: Contribution | None
    ) -> None:
        """Hear that what a message adds to a conversation has been merged (`new` is None: removed)."""

    def removed(self, conversation_id: str) -> None:
        """Hear that everything about a conversation has been removed."""

    def written(self, conversation_id: str, fields: dict[str, Any] | None) -> None:
        """Hear that a state (None: a tombstone) is on its way to its topic; once for each record, in order."""


class WorkerObserver(Protocol):
    """Watches a worker."""

    def restoring(self, done: int, total: int) -> None:
        """Hear how many of at most how many changelog records were read; the only call from another thread."""

    def began(self, join: "Join", guarded: Offsets) -> None:
        """Hear of a restored assignment before anything is joined; `guarded` are the ends of its logs."""

    def took(self, records: Sequence["Record"]) -> None:
        """Hear of a batch that is about to be joined."""

    def joined(self, records: Sequence["Record"]) -> None:
        """Hear that all of a batch is in the tables or in dead letters."""

    def flushed(self, waited_s: float) -> None:
        """Hear that changes are written that have waited for so long."""

    def settled(self, received_at: int | None) -> None:
        """Hear that all of a checkpoint is acknowledged; the bridge received the oldest event in it at that time."""

    def advanced(self) -> None:
        """Hear that something may have been joined or acknowledged since the last call."""

    def acknowledged(self, topic: str, partition: int, offset: int) -> None:
        """Hear that a record is acknowledged; within a partition of a topic they come in order."""

    def refused(self, reason: str) -> None:
        """Hear that a record has become a dead letter."""

    def lost(self) -> None:
        """Hear that nothing is owned any more; what is in work is still written."""


class Unobserved:
    """Nobody watches."""

    def row_changed(self, conversation_id: str) -> None:
        """Do nothing."""

    def message_changed(
        self, conversation_id: str, message_id: str, old: Contribution | None, new: Contribution | None
    ) -> None:
        """Do nothing."""

    def removed(self, conversation_id: str) -> None:
        """Do nothing."""

    def written(self, conversation_id: str, fields: dict[str, Any] | None) -> None:
        """Do nothing."""

    def restoring(self, done: int, total: int) -> None:
        """Do nothing."""

    def began(self, join: "Join", guarded: Offsets) -> None:
        """Do nothing."""

    def took(self, records: Sequence["Record"]) -> None:
        """Do nothing."""

    def joined(self, records: Sequence["Record"]) -> None:
        """Do nothing."""

    def flushed(self, waited_s: float) -> None:
        """Do nothing."""

    def settled(self, received_at: int | None) -> None:
        """Do nothing."""

    def advanced(self) -> None:
        """Do nothing."""

    def acknowledged(self, topic: str, partition: int, offset: int) -> None:
        """Do nothing."""

    def refused(self, reason: str) -> None:
        """Do nothing."""

    def lost(self) -> None:
        """Do nothing."""
