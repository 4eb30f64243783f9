"""The message table: merges events into facts, tells each conversation what its messages add."""

from typing import cast

from msgspec import DecodeError, Struct, ValidationError, msgpack

from avro.instants import FIRST, LAST
from streams.contract import Contract, Refused
from streams.engine.stores import MARK_KEY, Store
from streams.engine.writer import Writer
from streams.limits import FACTS_BYTES, GROWTH, ID_BYTES
from streams.state import message
from streams.state.contribution import Contribution
from streams.state.message import MessageFacts


class ContributionRecord(Struct, array_like=True):
    """A value of the contributions topic, keyed by conversation: what a message adds, or None when it is removed.

    `announce` are the status keys of which the conversation has to tell, `received_at` is when the bridge received the
    oldest of the events that this follows from (microseconds since the epoch; None: that is not measured).
    """

    message_id: str
    contribution: Contribution | None
    announce: list[str]
    received_at: int | None = None


encode_contribution = msgpack.Encoder().encode
_decode = msgpack.Decoder(ContributionRecord).decode


def decode_contribution(value: bytes) -> ContributionRecord:
    """Return a contribution record, read from its bytes. Raises Refused if it is none."""
    try:
        record = _decode(value)
    except (DecodeError, ValidationError) as error:
        raise Refused("undecodable", f"not a contribution: {error}") from None
    contribution = record.contribution
    # Trap: the empty member of a conversation's group is its row.
    if not record.message_id:
        raise Refused("undecodable", "not a contribution: no message has an empty id")
    if contribution is not None and not (_fits(contribution) and contribution.status.keys() >= set(record.announce)):
        raise Refused("undecodable", "not a contribution: values that no message has")
    return record


def _fits(contribution: Contribution) -> bool:
    for register in (
        contribution.conversation_id,
        contribution.organization_id,
        contribution.direction,
        contribution.timestamp,
        contribution.created_at,
    ):
        if register is not None:
            value = register[1]
            kind = type(value)
            if kind is int:
                if not FIRST <= value <= LAST:
                    return False
            elif value is not None and kind is not str and kind is not bytes:
                return False
    return all(FIRST <= at <= LAST for at in contribution.status.values())


def join_stored(key: bytes, a: bytes, b: bytes) -> bytes:
    """Return what two records of the changelog for the same key say together."""
    del key
    return message.encode(message.join(message.decode(a), message.decode(b)))


class MessageTask:
    """One partition of the message table."""

    def __init__(self, partition: int, store: Store, contract: Contract, writer: Writer) -> None:
        """Take over the partition's store, restored."""
        self.partition = partition
        self.store = store
        self._contract = contract
        self._writer = writer
        self._changed: dict[str, MessageFacts] = {}
        #: Of those, how large they are at the most when they are stored.
        self._sizes: dict[str, int] = {}
        self._announce: dict[str, set[str]] = {}
        #: When the first event since `publish` was received.
        self._received_at: int | None = None
        self._changelog = contract.topic("streams-messages-changelog")
        self._states = contract.topic("message-state")
        self._contributions = contract.topic("streams-contributions")

    def facts(self, message_id: str) -> MessageFacts | None:
        """Return what is known of a message."""
        facts = self._changed.get(message_id)
        if facts is None:
            stored = self.store.get(message_id.encode())
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
            stored = self.store.get(message_id.encode())
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
                self._writer.write(self._contributions, conversation.encode(), value)
        self._announce.clear()
        self._received_at = None

    def flush(self, mark: int) -> None:
        """Write what has changed: to the store, the changelog and the state topic, once a message.

        `mark` is the offset after the last event that was merged. It goes first: whoever finds merged facts, finds it.
        """
        if not self._changed:
            return
        self.store.save_mark(mark)
        self._writer.write(self._changelog, MARK_KEY, self.store.mark.to_bytes(8), self.partition)
        for message_id, facts in self._changed.items():
            self._write(message_id, facts)
        self._changed.clear()
        self._sizes.clear()

    def _write(self, message_id: str, facts: MessageFacts) -> None:
        key = message_id.encode()
        stored = message.encode(facts)
        self.store.put(key, stored)
        self._writer.write(self._changelog, key, stored, self.partition)
        value, headers = self._contract.message_state(message.state(message_id, facts))
        self._writer.write(self._states, key, value, self.partition, headers)

    def retract(self, message_id: str) -> None:
        """First half of a removal: tell the conversations and the state topic. Flush before.

        The second half, `remove`, must wait until this is acknowledged: the facts are the only list of whom to tell.
        """
        key = message_id.encode()
        facts = self.facts(message_id)
        if facts is not None:
            value = encode_contribution(ContributionRecord(message_id, None, []))
            for conversation in facts.conversations:
                self._writer.write(self._contributions, conversation.encode(), value)
        self._writer.write(self._states, key, None, self.partition)

    def remove(self, message_id: str) -> None:
        """Second half of a removal: forget the facts."""
        key = message_id.encode()
        self.store.delete(key)
        self._writer.write(self._changelog, key, None, self.partition)

    def rewrite(self, message_id: str) -> None:
        """Write once more what is known, over what another worker wrote by mistake."""
        facts = self.facts(message_id)
        if facts is not None:
            self._write(message_id, facts)
            return
        key = message_id.encode()
        self._writer.write(self._changelog, key, None, self.partition)
        self._writer.write(self._states, key, None, self.partition)
