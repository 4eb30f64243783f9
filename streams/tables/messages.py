"""The message table: merges events into facts, tells each conversation what its messages add."""

import logging
from typing import cast

from streams.contract import Contract, Refused
from streams.engine.table import Sender, TablePartition
from streams.limits import FACTS_BYTES, GROWTH, ID_BYTES
from streams.state import message
from streams.state.message import MessageFacts
from streams.tables.contributions import ContributionRecord, encode_contribution

logger = logging.getLogger(__name__)


def join_stored(key: bytes, a: bytes, b: bytes) -> bytes:
    """Return what two records of the changelog for the same key say together."""
    del key
    return message.encode(message.join(message.decode(a), message.decode(b)))


class MessagePartition:
    """One partition of the message table: a `streams.engine.table.Contents`."""

    def __init__(self, rows: TablePartition, contract: Contract, sender: Sender) -> None:
        """Take over a restored partition; `sender` writes what follows from its rows."""
        self.partition = rows.number
        self.rows = rows
        self._contract = contract
        self._sender = sender
        self._changed: dict[str, MessageFacts] = {}
        #: Of those, how large they are at the most when they are stored.
        self._sizes: dict[str, int] = {}
        self._announce: dict[str, set[str]] = {}
        #: When the first event since `publish` was received.
        self._received_at: int | None = None
        self._states = contract.topic("message-state")
        self._contributions = contract.topic("streams-contributions")

    def facts(self, message_id: str) -> MessageFacts | None:
        """Return what is known of a message."""
        facts = self._changed.get(message_id)
        if facts is None:
            stored = self.rows.get(message_id.encode())
            facts = None if stored is None else message.decode(stored)
        return facts

    def apply(self, event: dict[str, object], size: int, *, replayed: bool) -> None:
        """Merge an event. If it may have been processed before (`replayed`), everything that follows is told again.

        Raises Refused if the merged row would become too large to be written.
        """
        message_id = str(event["id"])
        new = message.facts_of(event)
        for conversation in new.conversations:
            if len(conversation.encode()) > ID_BYTES:
                raise Refused("too_large", f"the conversation's id exceeds {ID_BYTES} bytes")
        known = self._changed.get(message_id)
        at_most = size * GROWTH
        if known is not None:
            at_most += self._sizes[message_id]
        else:
            stored = self.rows.get(message_id.encode())
            if stored is not None:
                at_most += len(stored)
                known = message.decode(stored)
        merged = new if known is None else message.join(known, new)
        if at_most > FACTS_BYTES:
            at_most = len(message.encode(merged))
            if at_most > FACTS_BYTES:
                raise Refused("too_large", f"the merged row would exceed {FACTS_BYTES} bytes")
        self._changed[message_id] = merged
        self._sizes[message_id] = at_most
        if self._received_at is None:
            self._received_at = cast("int", event["received_at"])
        announce = self._announce.get(message_id)
        if announce is None:
            announce = self._announce[message_id] = set()
        if replayed or known is None or message.conversation_of(known) is None:
            announce.update(merged.status)
        else:
            announce.update(merged.status.keys() - known.status.keys())

    def publish(self) -> None:
        """Tell the conversations of the messages that have changed since the last call."""
        for message_id, announce in self._announce.items():
            facts = self._changed[message_id]
            if not facts.conversations:
                continue
            contribution = message.contribution(facts)
            current = message.conversation_of(facts)
            for conversation in facts.conversations:
                told = sorted(announce) if conversation == current else []
                value = encode_contribution(ContributionRecord(message_id, contribution, told, self._received_at))
                self._sender.write(self._contributions, conversation.encode(), value)
        self._announce.clear()
        self._received_at = None

    def flush(self) -> None:
        """Write what has changed: to the table and the state topic, once a message."""
        if not self._changed:
            return
        self.rows.mark()
        for message_id, facts in self._changed.items():
            key = message_id.encode()
            self.rows[key] = message.encode(facts)
            self._write_state(key, message_id, facts)
        self.rows.flush()
        self._changed.clear()
        self._sizes.clear()

    def _write_state(self, key: bytes, message_id: str, facts: MessageFacts) -> None:
        value, headers = self._contract.message_state(message.state(message_id, facts))
        self._sender.write(self._states, key, value, self.partition, headers)

    def retract(self, message_id: str) -> None:
        """First half of a removal: tell the conversations and the state topic. Flush before.

        The second half, `remove`, must wait until this is acknowledged: the facts are the only list of whom to tell.
        """
        key = message_id.encode()
        facts = self.facts(message_id)
        if facts is not None:
            value = encode_contribution(ContributionRecord(message_id, None, []))
            for conversation in facts.conversations:
                self._sender.write(self._contributions, conversation.encode(), value)
        self._sender.write(self._states, key, None, self.partition)

    def remove(self, message_id: str) -> None:
        """Second half of a removal: forget the facts."""
        del self.rows[message_id.encode()]

    def rewrite(self, topic: str, key: bytes) -> None:
        """Write the row of a message and its state once more, whichever of both another worker wrote by mistake."""
        try:
            message_id = key.decode()
        except UnicodeDecodeError:
            logger.warning("%s[%d] holds a key that is no row's: %r", topic, self.partition, key)
            return
        facts = self.facts(message_id)
        self.rows.rewrite(key)
        if facts is None:
            self._sender.write(self._states, key, None, self.partition)
        else:
            self._write_state(key, message_id, facts)
