"""The tables as the views read them: whole and current, or not at all."""

from typing import TYPE_CHECKING, Any

from aiokafka.partitioner import murmur2

from streams.agents.join import Join
from streams.settings import StreamsSettings
from streams.state import message
from streams.state.contribution import Contribution

if TYPE_CHECKING:
    from streams.worker import Worker


class NotReadyError(Exception):
    """The tables recover or are being rebalanced."""


class NotOwnedError(NotReadyError):
    """The key is in a partition of another worker, whose views are at `url`."""

    def __init__(self, partition: int, url: str) -> None:
        """Name the owner."""
        super().__init__(f"partition {partition} is owned by another worker")
        self.url = url


class Tables:
    """Looks keys up in the partitions of this worker. `worker` is None until it has started."""

    def __init__(self, settings: StreamsSettings) -> None:
        """Start with nothing to read."""
        self.settings = settings
        self.worker: Worker | None = None

    @property
    def ready(self) -> bool:
        """Whether this worker can answer for all that it owns."""
        worker = self.worker
        if worker is None or worker.join is None or not worker.holds_lease:
            return False
        return all(worker.join.caught_up(partition) for partition in worker.join.messages)

    def message(self, message_id: str) -> dict[str, Any] | None:
        """Return the MessageState, None if there is no such message. Raises NotReadyError, NotOwnedError."""
        join, partition = self._locate(message_id)
        facts = join.messages[partition].facts(message_id)
        return None if facts is None else message.state(message_id, facts)

    def conversation(self, conversation_id: str) -> dict[str, Any] | None:
        """Return the ConversationState, None if there is no such one. Raises NotReadyError, NotOwnedError."""
        join, partition = self._locate(conversation_id)
        return join.conversations[partition].state(conversation_id)

    def messages(self, conversation_id: str) -> list[tuple[str, Contribution]]:
        """Return a conversation's messages, newest first. Raises NotReadyError, NotOwnedError."""
        join, partition = self._locate(conversation_id)
        return list(join.conversations[partition].messages(conversation_id))

    def _locate(self, key: str) -> tuple[Join, int]:
        worker = self.worker
        # Trap: without the lease others may own the partitions already, and know more.
        if worker is None or worker.join is None or not worker.holds_lease:
            raise NotReadyError("the tables are being restored or rebalanced")
        partition = (murmur2(key.encode()) & 0x7FFFFFFF) % worker.partition_count
        if partition not in worker.join.messages:
            url = worker.app.owners(worker.contract.topic("messages")).get(partition)
            if url is None:
                raise NotReadyError(f"partition {partition} has no owner yet")
            raise NotOwnedError(partition, url)
        if not worker.join.caught_up(partition):
            raise NotReadyError(f"partition {partition} has not caught up with what came before this worker owned it")
        return worker.join, partition
