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
    """The tables recover or are being rebalanced, or the key's partition is another worker's."""


class Tables:
    """Looks keys up in the partitions of this worker. `worker` is None until it has started."""

    def __init__(self, settings: StreamsSettings) -> None:
        """Start with nothing to read."""
        self.settings = settings
        self.worker: Worker | None = None

    @property
    def ready(self) -> bool:
        """Whether this worker can answer for what it owns."""
        return self.worker is not None and self.worker.join is not None

    def message(self, message_id: str) -> dict[str, Any] | None:
        """Return the MessageState, None if there is no such message. Raises NotReadyError."""
        task = self._join().messages.get(self._partition(message_id))
        if task is None:
            raise NotReadyError(f"message {message_id!r} is in a partition of another worker")
        facts = task.facts(message_id)
        return None if facts is None else message.state(message_id, facts)

    def conversation(self, conversation_id: str) -> dict[str, Any] | None:
        """Return the ConversationState, None if there is no such conversation. Raises NotReadyError."""
        task = self._join().conversations.get(self._partition(conversation_id))
        if task is None:
            raise NotReadyError(f"conversation {conversation_id!r} is in a partition of another worker")
        return task.state(conversation_id)

    def messages(self, conversation_id: str) -> list[tuple[str, Contribution]]:
        """Return a conversation's messages, newest first. Raises NotReadyError."""
        task = self._join().conversations.get(self._partition(conversation_id))
        if task is None:
            raise NotReadyError(f"conversation {conversation_id!r} is in a partition of another worker")
        return list(task.messages(conversation_id))

    def _join(self) -> Join:
        if self.worker is None or self.worker.join is None:
            raise NotReadyError("the tables are being restored or rebalanced")
        return self.worker.join

    def _partition(self, key: str) -> int:
        if self.worker is None:
            raise NotReadyError("the worker is starting")
        return int((murmur2(key.encode()) & 0x7FFFFFFF) % self.worker.partition_count)
