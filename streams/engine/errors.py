"""Errors of a worker, and of Kafka's clients, for callers that may not import them.

Most of a worker's end it; its restart replays what was not acknowledged.

StreamsError
├── WriteFailedError       the broker rejected a record
├── FrozenError            the event loop stood still for so long that others may have taken over
├── LeaseLostError         no commit succeeded for as long, or the group has removed the worker
├── MembershipError        Faust or its Kafka client has given up, or does not answer
├── SourceLostError        no broker answers the client that reads, though the group answers this worker
├── DataDirectoryError     the stores' directory is another worker's, or cannot be used: the worker does not start
├── CompactionError        deleted data may still be in a store's files
├── StoreDamagedError      a store on disk cannot be read; the next start sets it aside and reads the changelog
├── StoreDiskError         the disk of a store is full or fails; the next start goes on once it does not
├── RestoreFailedError     a table could not be read from its changelog
├── TopicReplacedError     a source or a log was created again; the next start reads or writes all of it
├── AgentEndedError        an agent has returned, so its topic is no longer read
├── AssignmentError        the sources are not assigned together, or two workers have one address
└── PartitionsChangedError the tables were made with another number of partitions

These end no worker: PartitionsChangedError (it waits, and joins nothing) and CompactionError (tried again). Nor do
MembershipError, RestoreFailedError and StoreDamagedError where standby copies are followed, and MembershipError where a
barrier is waited for: both are tried again.
"""

from confluent_kafka import KafkaException

#: Kafka does not answer, or not now.
UNAVAILABLE = (KafkaException,)


def name_of(error: BaseException) -> str:
    """Return the name of a client's error."""
    return str(error.args[0].name()) if isinstance(error, KafkaException) else type(error).__name__


class StreamsError(Exception):
    """The worker cannot go on without risking its guarantees."""


class WriteFailedError(StreamsError):
    """The broker rejected a record permanently."""


class FrozenError(StreamsError):
    """The event loop stood still: for the lease, or as the watchdog finds, for twice the session time-out."""


class LeaseLostError(StreamsError):
    """Membership could not be confirmed for longer than others wait before they take over."""


class MembershipError(StreamsError):
    """The component that keeps this worker in the group has given up, or does not say what the group knows."""


class SourceLostError(StreamsError):
    """Nobody answers the client that reads the sources, while the group answers this worker: it would wait for ever."""


class DataDirectoryError(StreamsError):
    """The directory of the stores is another worker's, or cannot be used."""


class RestoreFailedError(StreamsError):
    """A table could not be read from its changelog."""


class AssignmentError(StreamsError):
    """The sources are not assigned together, so results would be wrong; or another worker has the same address."""


class TopicReplacedError(StreamsError):
    """A source or a log was deleted and created again."""


class PartitionsChangedError(StreamsError):
    """The tables were made with another number of partitions than the topics have now."""

    def __init__(self, message: str, remembered: int) -> None:
        """Set the reason, and the partition count with which they were made."""
        super().__init__(message)
        self.remembered = remembered


class CompactionError(StreamsError):
    """A store could not be compacted: deleted data may still be in its files."""


class StoreDamagedError(StreamsError):
    """A store on disk is damaged."""


class StoreDiskError(StreamsError):
    """The disk of a store cannot be written or read; nothing of the store is damaged."""


class AgentEndedError(StreamsError):
    """An agent has returned, so its topic is no longer read."""
