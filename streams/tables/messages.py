"""The message table: merges events into facts, and sends each conversation what its messages add.

It has every column that `avro/columns.py` declares. A new column: docs/howto/column.md.
"""

from collections.abc import Collection, Generator, Iterator
from typing import Any, cast

from msgspec import msgpack

from avro.catalogue import DELETE, MAX_MEMBERS
from streams.contract import Contract, Encoded, Refused
from streams.engine.hooks import Hook
from streams.engine.table import Sender, TablePartition
from streams.limits import CLAIMED_BYTES, FACTS_BYTES, FEW_MEMBERS_BYTES, GROWTH, ID_BYTES, JUDGED_BYTES
from streams.state import existence, message
from streams.state.contribution import encode as encode_contribution
from streams.state.message import MessageFacts
from streams.tables.contributions import (
    HOLDERS,
    ContributionRecord,
    HolderRecord,
    VerdictRecord,
    encode_record,
    holders_key,
)
from streams.tables.foreign import id_of
from streams.tables.in_slices import USUAL_BYTES, slices

_encode_holders = msgpack.Encoder().encode
_decode_holders = msgpack.Decoder(dict[str, existence.Holder]).decode


def join_stored(key: bytes, a: bytes, b: bytes) -> bytes:
    """Merge two changelog records of the same key."""
    if key.startswith(HOLDERS):
        return _encode_holders(existence.join_holders(_decode_holders(a), _decode_holders(b)))
    return message.encode(message.join(message.decode(a), message.decode(b)))


class MessagePartition:
    """One partition of the message table: a `streams.engine.table.Contents`."""

    def __init__(
        self, rows: TablePartition, contract: Contract, sender: Sender, superseded: Hook[[]] | None = None
    ) -> None:
        """Take over a restored partition; `sender` writes what follows from its rows.

        `superseded` is called, without arguments, once for each message that turns out to be superseded.
        """
        self.partition = rows.number
        self.rows = rows
        self._contract = contract
        self._superseded = superseded
        self._sender = sender
        self._changed: dict[str, MessageFacts] = {}
        #: The stored size of those, at most.
        self._sizes: dict[str, int] = {}
        self._announce: dict[str, set[str]] = {}
        #: Messages that have to report themselves to the holders of their external ids.
        self._to_tell: set[str] = set()
        #: When the first event since `publishing` was received.
        self._received_at: int | None = None
        self._states = contract.topic("message-state")
        self._contributions = contract.topic("streams-contributions")

    def facts(self, message_id: str) -> MessageFacts | None:
        """Return all facts of a message, whether they count or not."""
        facts = self._changed.get(message_id)
        if facts is None:
            stored = self.rows.get(message_id.encode())
            facts = None if stored is None else message.decode(stored)
        return facts

    def apply(
        self, event: dict[str, object], size: int, *, replayed: bool, organizations: Collection[str] | None = None
    ) -> None:
        """Merge an event of a writer for some organizations (None: all).

        If it may have been processed before (`replayed`), all resulting records are written again. Raises Refused if
        the merged row would become too large to be written.
        """
        message_id = str(event["id"])
        new = message.facts_of(event, organizations)
        known = self._changed.get(message_id)
        untold = False
        at_most = size * GROWTH
        if known is not None:
            at_most += self._sizes[message_id]
        else:
            stored = self.rows.get(message_id.encode())
            if stored is not None:
                at_most += len(stored)
                known = message.decode(stored)
                untold = message.predates_holders(stored)
        _check_conversations(known, new)
        merged = new if known is None else message.join(known, new)
        if at_most > FACTS_BYTES or (at_most > FEW_MEMBERS_BYTES and message.members(merged) > MAX_MEMBERS):
            if not _fits(merged) and not (event["action"] == DELETE and len(message.encode(merged)) <= JUDGED_BYTES):
                merged = message.without_others(merged)
                if not _fits(merged) or not new.claims.keys() <= merged.claims.keys():
                    detail = f"the merged row would exceed {FACTS_BYTES} bytes, or {MAX_MEMBERS} columns and keys"
                    raise Refused("too_large", detail)
            at_most = len(message.encode(merged))
        self._changed[message_id] = merged
        self._sizes[message_id] = at_most
        if self._received_at is None:
            self._received_at = cast("int", event["received_at"])
        before = None if replayed else known
        was = None if before is None else message.effective(before)
        announced = message.newly_announced(was, message.effective(merged))
        self._announce.setdefault(message_id, set()).update(announced)
        # Trap: facts of a former version have an external id whose holders do not know of the message.
        if untold or message.is_to_tell_holders(before, merged):
            self._to_tell.add(message_id)

    def apply_verdict(self, message_id: str, record: VerdictRecord) -> None:
        """Merge a verdict on whether a message exists; for an unknown message nothing is stored.

        Raises Refused if the merged row would become too large to be written.
        """
        known = self.facts(message_id)
        if known is None:
            return
        stored = None if message_id in self._changed else self.rows.get(message_id.encode())
        merged = message.with_verdict(
            known,
            record.deletes,
            record.rivals,
            organization=record.organization,
            conversation=record.conversation,
        )
        size = len(message.encode(merged))
        if size > JUDGED_BYTES:
            raise Refused("too_large", f"the message's facts would exceed {JUDGED_BYTES} bytes")
        self._changed[message_id] = merged
        self._sizes[message_id] = self._sizes.get(message_id, 0) + size
        untold = stored is not None and message.predates_holders(stored)
        own = message.holder(message.as_told_by(merged, record.organization))
        # Trap: merged facts may not have been sent, if a worker died in between.
        if untold or record.deletes or (record.known is not None and existence.says_more(own, record.known)):
            self._to_tell.add(message_id)
        was, is_now = message.effective(known), message.effective(merged)
        existed, exists = message.exists(was), message.exists(is_now)
        # While it was superseded its conversation published nothing of its status.
        is_again = exists and existence.has_deleted(record.rivals)
        self._announce.setdefault(message_id, set()).update(is_now.announced if is_again else ())
        # A verdict without rivals tells that its conversation is deleted.
        if self._superseded is not None and record.rivals is not None and existed and not exists:
            self._superseded()

    def apply_holder(self, key: bytes, record: HolderRecord) -> None:
        """Store a message that has had an external id, and send verdicts on who is superseded."""
        stored = self.rows.get(key)
        holders = {} if stored is None else _decode_holders(stored)
        if record.holder is None:
            holders.pop(record.message_id, None)
        else:
            # It is distinguished from the few others of its message, no more.
            external_id = key[len(HOLDERS) :][:8].hex()
            holders = existence.join_holders(holders, {record.message_id: record.holder})
            for message_id, rivals, known in existence.verdicts(holders, record.message_id):
                named: existence.StoredRivals = {external_id: rivals}
                verdict = encode_record(VerdictRecord("", [], named, known, organization=record.organization))
                self._sender.write(self._contributions, message_id.encode(), verdict)
        if holders:
            self.rows[key] = _encode_holders(holders)
        else:
            del self.rows[key]

    def publishing(self) -> Iterator[None]:
        """Send the conversations of changed messages what these add; see Contents."""
        for some in slices(self._announce.items(), self._weigh):
            records = [record for message_id, announce in some for record in self._records(message_id, announce)]
            for key, value in records:
                self._sender.write(self._contributions, key, value)
            yield
        self._announce.clear()
        self._to_tell.clear()
        self._received_at = None

    def _weigh(self, changed: tuple[str, object]) -> int:
        return 1 + self._sizes[changed[0]] // USUAL_BYTES

    def _records(self, message_id: str, announce: set[str]) -> Iterator[tuple[bytes, bytes]]:
        """Yield the records for holders of the message's external ids, and for its conversations."""
        facts = self._changed[message_id]
        if message_id in self._to_tell:
            for holding, holder in message.holdings(facts).items():
                yield holders_key(*holding), encode_record(HolderRecord("", message_id, holder, holding[0]))
        conversations = message.conversations_of(facts)
        if not conversations:
            return
        to_all = None if facts.claims else message.contribution(facts)
        current = message.conversation_of(message.effective(facts))
        for conversation in conversations:
            announced = sorted(announce) if conversation == current else []
            contribution = message.contribution(facts, conversation) if to_all is None else to_all
            record = ContributionRecord(message_id, contribution, announced, self._received_at)
            yield conversation.encode(), encode_record(record)

    def flushing(self) -> Generator[None, None, int | None]:
        """Write changes to the table and the state topic, once a message; see Contents."""
        if self._changed:
            self.rows.mark()
        for some in slices(self._changed.items(), self._weigh):
            for message_id, facts in some:
                self.rows[message_id.encode()] = message.encode(facts)
            yield
            states = [(message_id, self._state(message_id, facts)) for message_id, facts in some]
            yield
            encoded = [(message_id, *self._encoded(fields)) for message_id, fields in states]
            for message_id, value, headers in encoded:
                self._sender.write(self._states, message_id.encode(), value, self.partition, headers)
            yield
        yield from self.rows.flushing()
        self._changed.clear()
        self._sizes.clear()
        return None

    def _state(self, message_id: str, told: MessageFacts | None) -> dict[str, Any] | None:
        facts = None if told is None else message.effective(told)
        return None if facts is None or not message.exists(facts) else message.state(message_id, facts)

    def _encoded(self, fields: dict[str, Any] | None) -> Encoded | tuple[None, None]:
        return (None, None) if fields is None else self._contract.message_state(fields)

    def retract(self, message_id: str) -> Iterator[None]:
        """First half of a removal: write to the conversations and the state topic, in a single step. Flush before.

        The second half, `remove`, must wait until this is acknowledged: the facts are the only list of the recipients.
        """
        key = message_id.encode()
        facts = self.facts(message_id)
        if facts is not None:
            value = encode_record(ContributionRecord(message_id, None, []))
            for conversation in message.conversations_of(facts):
                self._sender.write(self._contributions, conversation.encode(), value)
            value = encode_record(HolderRecord("", message_id, None))
            for holding in message.holdings(facts):
                self._sender.write(self._contributions, holders_key(*holding), value)
        self._sender.write(self._states, key, None, self.partition)
        yield

    def remove(self, message_id: str) -> None:
        """Second half of a removal: drop the facts."""
        del self.rows[message_id.encode()]

    def rewrite(self, topic: str, key: bytes) -> None:
        """Write the row and the state of a message once more, over a foreign record of either."""
        if key.startswith(HOLDERS):
            self.rows.rewrite(key)
            return
        message_id = id_of(topic, self.partition, key)
        if message_id is None:
            return
        facts = self.facts(message_id)
        self.rows.rewrite(key)
        value, headers = self._encoded(self._state(message_id, facts))
        self._sender.write(self._states, key, value, self.partition, headers)


def _fits(facts: MessageFacts) -> bool:
    """Return whether all records that follow from facts can be written."""
    size, members = len(message.encode(facts)), message.members(facts)
    if not facts.claims:
        return size <= FACTS_BYTES and members <= MAX_MEMBERS
    if size <= FACTS_BYTES and members <= MAX_MEMBERS:
        return True
    # Trap: a row that two writers sent whole is stored twice, and one of the two counts: docs/decisions/0172.
    if members > 2 * MAX_MEMBERS or message.members(message.effective(facts)) > MAX_MEMBERS:
        return False
    return size <= CLAIMED_BYTES and all(
        len(part) <= FACTS_BYTES
        for part in (message.encode(message.effective(facts)), encode_contribution(message.contribution(facts)))
    )


def _check_conversations(known: MessageFacts | None, new: MessageFacts) -> None:
    """Raise Refused if an event names a conversation that cannot follow its message, or one too many."""
    if known is not None and not new.claims and new.conversations.keys() <= known.conversations.keys():
        return
    if any(len(name.encode()) > ID_BYTES for name in message.conversations_of(new)):
        raise Refused("too_large", f"the conversation's id exceeds {ID_BYTES} bytes")
    if message.in_too_many(known, new):
        limit = message.CONVERSATIONS_LIMIT
        raise Refused("too_large", f"the message was said to be in more than {limit} conversations")
