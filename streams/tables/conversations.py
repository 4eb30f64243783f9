"""The conversation table: the row of each conversation and what each of its messages adds to it.

It has every column that `avro/columns.py` declares. A new column: docs/howto/column.md.
"""

from collections import OrderedDict
from collections.abc import Collection, Generator, Iterable, Iterator
from typing import Any, cast

from avro.catalogue import DELETE, MAX_MEMBERS
from avro.cloudevents import Header
from openbsp.merge.contact import is_key, join_addresses
from streams.contract import Contract, Encoded, Refused
from streams.engine.hooks import Hook
from streams.engine.stores import group_key, prefix, split_key
from streams.engine.table import Sender, TablePartition
from streams.limits import FACTS_BYTES, FEW_MEMBERS_BYTES, GROWTH, JUDGED_BYTES
from streams.state import contribution as contributions
from streams.state import conversation
from streams.state.contribution import Contribution
from streams.state.conversation import ConversationFacts, Counting, Tally
from streams.state.status_change import status_changes
from streams.tables.contributions import ContributionRecord, VerdictRecord, encode_record
from streams.tables.foreign import id_of
from streams.tables.idle import last_activity
from streams.tables.in_slices import USUAL_BYTES, slices
from streams.tables.links import LEFT, AddressFollowed, AddressUpdate, Questions, encode_link, is_doubtful

_ROW = b""

#: Messages counted in one step: a small part of the time after which other tasks run.
_COUNTED = 200


def join_stored(key: bytes, a: bytes, b: bytes) -> bytes:
    """Merge two changelog records of the same key."""
    if split_key(key)[1] == _ROW:
        return conversation.encode(conversation.join(conversation.decode(a), conversation.decode(b)))
    return contributions.encode(contributions.join(contributions.decode(a), contributions.decode(b)))


class InUse:
    """A conversation whose tally is in memory. `size`: bytes of the stored row, or more."""

    __slots__ = ("size", "tally")

    def __init__(self, size: int, tally: Tally) -> None:
        """Set the stored row's size and the tally."""
        self.size = size
        self.tally = tally

    @property
    def told(self) -> ConversationFacts | None:
        """All facts of the row, of all writers."""
        return self.tally.told


class ConversationHooks:
    """Hooks that report changes of a partition's conversations."""

    __slots__ = ("message_changed", "removed", "row_changed", "written")

    def __init__(self) -> None:
        """Start without subscribers."""
        #: The row of a conversation has been merged.
        self.row_changed: Hook[[str]] = Hook()
        #: What a message adds to a conversation has been merged: ids, what it was, what it is (None: removed).
        self.message_changed: Hook[[str, str, Contribution | None, Contribution | None]] = Hook()
        #: Everything about a conversation is being removed: it can be read for the last time.
        self.removed: Hook[[str]] = Hook()
        #: A state (None: a tombstone) was sent to its topic; once for each record, in order.
        self.written: Hook[[str, dict[str, Any] | None]] = Hook()


class ConversationPartition:
    """One partition of the conversation table: a `streams.engine.table.Contents`.

    The table holds facts only, under group keys: the row under the empty member, each contribution under its
    message's id. Tallies are derived, and live only as long as their conversation is in use.
    """

    def __init__(self, rows: TablePartition, contract: Contract, sender: Sender, in_use_limit: int) -> None:
        """Take over a restored partition; `sender` writes what follows from its rows."""
        self.partition = rows.number
        self.rows = rows
        self.hooks = ConversationHooks()
        self._contract = contract
        self._sender = sender
        self._in_use: OrderedDict[str, InUse] = OrderedDict()
        self._in_use_limit = in_use_limit
        #: Those in use of which nothing was known then: who asked for them, or what came of forgotten ones, made them.
        self._unknown: set[str] = set()
        #: Conversations whose messages are kept in order, the one that was counted again last at the end.
        self._ordered: dict[str, None] = {}
        self._changed_rows: dict[str, ConversationFacts] = {}
        self._announced: dict[tuple[str, str], set[str]] = {}
        #: Conversations whose status changes are all to be published again, in order.
        self._announcing: dict[str, None] = {}
        #: Contributions merged since `publishing`: read and decoded once.
        self._merged: dict[tuple[str, str], Contribution] = {}
        self._questions = Questions()
        #: When the bridge received the first event that has changed something since `flushing`; None: not known.
        self._received_at: int | None = None
        self._changed: set[str] = set()
        self._states = contract.topic("conversation-state")
        self._changes = contract.topic("status-changes")
        self._contributions = contract.topic("streams-contributions")

    def apply_row(
        self, event: dict[str, object], size: int, *, replayed: bool, organizations: Collection[str] | None = None
    ) -> None:
        """Merge an event of the conversation's row, of `size` bytes, of a writer for some organizations (None: all).

        With the first one (or one that may have been it, `replayed`) the status changes that were published without
        their conversation are published again, with it. Raises Refused if the merged row would become too large to be
        written.
        """
        conversation_id = str(event["id"])
        entry = self.in_use(conversation_id)
        new = conversation.facts_of(event, organizations)
        merged = new if entry.told is None else conversation.join(entry.told, new)
        at_most = entry.size + size * GROWTH
        if at_most > FACTS_BYTES or (at_most > FEW_MEMBERS_BYTES and conversation.members(merged) > MAX_MEMBERS):
            is_delete = event["action"] == DELETE
            if not _fits(merged) and not (is_delete and len(conversation.encode(merged)) <= JUDGED_BYTES):
                merged = conversation.without_others(merged)
                if not _fits(merged) or not new.claims.keys() <= merged.claims.keys():
                    detail = f"the merged row would exceed {FACTS_BYTES} bytes, or {MAX_MEMBERS} columns"
                    raise Refused("too_large", detail)
            at_most = len(conversation.encode(merged))
        self._unfollow_addresses(conversation_id, entry.told, merged)
        self._follow_addresses(conversation_id, None if replayed else entry.told, merged)
        if merged.contacts:
            merged = conversation.of_its_addresses(merged)
        known, owner = entry.tally.known, entry.tally.owner
        entry.tally.row_changed(merged)
        if not known or replayed or (merged.claims and entry.tally.owner != owner):
            self._announcing[conversation_id] = None
        self._changed_rows[conversation_id] = merged
        entry.size = at_most
        self._changed.add(conversation_id)
        if self._received_at is None:
            self._received_at = cast("int", event["received_at"])
        self.hooks.row_changed(conversation_id)

    def _follow_addresses(self, conversation_id: str, before: ConversationFacts | None, now: ConversationFacts) -> None:
        """Make a conversation follow the addresses that it may have, if its row has changed."""
        if not is_key(conversation_id):
            return
        followed = conversation.addresses_of(now)
        if not followed:
            return
        age = conversation.age_of(now)
        known = set() if before is None or conversation.age_of(before) != age else conversation.addresses_of(before)
        # Trap: a row of a version without contacts never asked to follow its address.
        for address in sorted(followed - (known & now.contacts.keys())):
            self._write_link(address, AddressFollowed(conversation_id, age))

    def _unfollow_addresses(
        self, conversation_id: str, before: ConversationFacts | None, now: ConversationFacts | None
    ) -> None:
        """Stop following the addresses that the conversation can no longer have."""
        if before is None or not is_key(conversation_id):
            return
        for address in sorted(conversation.addresses_of(before) - conversation.addresses_of(now)):
            self._write_link(address, AddressFollowed(conversation_id, None))

    def _write_link(self, address: str, link: AddressFollowed) -> None:
        self._sender.write(self._contributions, address.encode(), encode_link(link))

    def apply_address(self, conversation_id: str, link: AddressUpdate, number: int) -> None:
        """Store an address's facts if the conversation may have it, otherwise stop following it.

        A crash between the change of a row and the unfollow of its former address leaves it a follower: after the
        replay the former address is no longer known. If the record takes something away that is known, the address is
        asked first, with the record's `number`.
        """
        entry = self.in_use(conversation_id)
        if entry.told is None or link.address not in conversation.addresses_of(entry.told):
            self._questions.forget(conversation_id, link.address)
            if link.answers != LEFT:
                self._write_link(link.address, AddressFollowed(conversation_id, None))
            return
        known = entry.told.contacts.get(link.address)
        is_answer = self._questions.close(conversation_id, link)
        if not is_answer and is_doubtful(link, known) and self._questions.open(conversation_id, link.address, number):
            age = conversation.age_of(entry.told)
            self._write_link(link.address, AddressFollowed(conversation_id, age, number))
        if link.facts is None and link.answers in {None, LEFT}:
            return
        facts = link.facts
        if not is_answer and known is not None:
            facts = known if facts is None else join_addresses(known, facts)
        merged = conversation.with_address(entry.told, link.address, facts)
        entry.tally.row_changed(merged)
        self._changed_rows[conversation_id] = merged
        self._changed.add(conversation_id)
        self.hooks.row_changed(conversation_id)

    def tell_messages(self, conversation_id: str) -> Iterator[None]:
        """If a conversation is deleted, send that to all messages that were in it, one with each step."""
        told = self.in_use(conversation_id).told
        if told is not None and conversation.has_deletes(told):
            for message_id, contribution in self._stored_contributions(conversation_id):
                self._tell_message(conversation_id, message_id, told, contribution, contribution)
                yield

    def _tell_message(
        self,
        conversation_id: str,
        message_id: str,
        told: ConversationFacts,
        contribution: Contribution,
        said: Contribution,
    ) -> None:
        # A message that has its verdict needs no other: what it said is its answer.
        deletes = conversation.deletes_for(told, contribution)
        stay = said.stays.get(conversation_id)
        if not set(deletes).issubset(() if stay is None else stay[2]):
            verdict = encode_record(VerdictRecord("", deletes, None, None, conversation=conversation_id))
            self._sender.write(self._contributions, message_id.encode(), verdict)

    def ask(self, message_id: str) -> None:
        """Ask a message to report itself to holders: the former version that stored it did not."""
        verdict = encode_record(VerdictRecord("", [], None, None))
        self._sender.write(self._contributions, message_id.encode(), verdict)

    def apply_contribution(self, conversation_id: str, record: ContributionRecord) -> None:
        """Merge what a message adds, and record the status changes that it announces.

        Raises Refused if it would become too large to be written, which cannot happen by what messages send.
        """
        entry = self.in_use(conversation_id)
        message_id = record.message_id
        key = group_key(conversation_id.encode(), message_id.encode())
        stored = self.rows.get(key)
        known = None if stored is None else contributions.decode(stored)
        old = None if known is None else contributions.effective(known)
        new = record.contribution
        self._changed.add(conversation_id)
        if self._received_at is None:
            self._received_at = record.received_at
        if new is None:
            # Those announced before the removal are published too: once is never zero times.
            ids = conversation_id, message_id
            self._publish_changes([(ids, self._announced.pop(ids, set()))])
            self._merged.pop((conversation_id, message_id), None)
            entry.tally.replace(conversation_id, message_id, old, None)
            del self.rows[key]
            self.hooks.message_changed(conversation_id, message_id, old, None)
            return
        stored_facts = new if known is None else contributions.join(known, new)
        value = contributions.encode(stored_facts)
        if len(value) > 2 * FACTS_BYTES:
            raise Refused("too_large", f"what the message adds would exceed {2 * FACTS_BYTES} bytes")
        merged = contributions.effective(stored_facts)
        owner = entry.tally.owner
        entry.tally.replace(conversation_id, message_id, old, merged)
        self.rows[key] = value
        if entry.told is not None and entry.told.claims and entry.tally.owner != owner:
            self._announcing[conversation_id] = None
        self.hooks.message_changed(conversation_id, message_id, old, merged)
        if entry.told is not None and conversation.has_deletes(entry.told):
            # Trap: a table of messages that is built from the sources once more may read a verdict before its message,
            # and drop it. What the message has said before is its answer no more then.
            self._tell_message(conversation_id, message_id, entry.told, stored_facts, new)
        if record.announce:
            self._announced.setdefault((conversation_id, message_id), set()).update(record.announce)
            self._merged[conversation_id, message_id] = merged
        else:
            self._merged.pop((conversation_id, message_id), None)

    def publishing(self) -> Iterator[None]:
        """Publish the status changes announced since the last time, each with its conversation."""
        for conversation_id in self._announcing:
            yield from self.counting(conversation_id)
            for some in slices(self._all_announced(conversation_id), _weigh):
                self._publish_changes(some)
                yield
        self._announcing.clear()
        for some in slices(self._announced.items(), _weigh):
            for conversation_id in {conversation_id for (conversation_id, _), _ in some}:
                yield from self.counting(conversation_id)
            self._publish_changes(some)
            yield
        self._announced.clear()
        self._merged.clear()

    def _all_announced(self, conversation_id: str) -> Iterator[tuple[tuple[str, str], set[str]]]:
        """Yield all messages that a conversation ever had, with the status keys that they announce."""
        for message_id, contribution in self.contributions(conversation_id):
            ids = conversation_id, message_id
            belongs = contributions.belongs_to(contribution, conversation_id)
            yield ids, self._announced.pop(ids, set()).union(contribution.announced) if belongs else set()

    def _publish_changes(self, announced: Iterable[tuple[tuple[str, str], set[str]]]) -> None:
        # One kind of work after the other: see streams.tables.in_slices.
        changes = [(ids[0], fields) for ids, keys in announced for fields in self._status_changes(*ids, keys)]
        encoded = [(conversation_id, *self._contract.status_change(fields)) for conversation_id, fields in changes]
        for conversation_id, value, headers in encoded:
            self._sender.write(self._changes, conversation_id.encode(), value, self.partition, headers)

    def _status_changes(self, conversation_id: str, message_id: str, announced: set[str]) -> list[dict[str, Any]]:
        if not announced:
            return []
        contribution = self._merged.get((conversation_id, message_id)) or self.contribution(conversation_id, message_id)
        # Trap: it is published even if the message has left since: a key announced here is announced nowhere else.
        if contribution is None or not contributions.exists(contribution):
            return []
        facts = self._fresh(conversation_id).tally.facts
        # A message of another organization must not carry the conversation's data.
        summary = conversation.summary(facts) if conversation.tells(facts, contribution) else None
        return status_changes(message_id, conversation_id, contribution, sorted(announced), summary)

    def is_idle(self, conversation_id: str, before: int) -> Generator[None, None, bool]:
        """Return whether nothing known of a conversation is as late as `before`, in steps. Flush before."""
        latest = yield from last_activity(conversation_id, self.rows.scan(prefix(conversation_id.encode())))
        return latest is None or latest < before

    def postpone(self, conversation_id: str, request: bytes) -> None:
        """Requeue a request that concerns a conversation behind all current records of its topic."""
        self._sender.write(self._contributions, conversation_id.encode(), request, self.partition)

    def retract(self, conversation_id: str) -> Iterator[None]:
        """First half of a removal: delete all from the changelog, in steps. Flush before.

        The second half, `remove`, must wait until this is acknowledged: the store is the only list of what to delete,
        and may be gone from the disk when the removal has to be repeated.
        """
        for key, _ in self.rows.scan(prefix(conversation_id.encode())):
            self.rows.retract(key)
            yield

    def rewrite_rows(self, conversation_id: str) -> Iterator[None]:
        """Write all of a conversation to the changelog once more, in steps, as the store has it."""
        for key, _ in self.rows.scan(prefix(conversation_id.encode())):
            self.rows.rewrite(key)
            yield

    def remove(self, conversation_id: str) -> None:
        """Second half of a removal: drop the row and all contributions, and write the tombstone to the state topic.

        Deletes go to the changelog once more: a store on disk that has its position from between the halves, but not
        these deletions, would keep everything otherwise.
        """
        self.hooks.removed(conversation_id)
        # Trap: not in the first half. An idle conversation that gets a record between the halves stays, and would no
        # longer follow its address.
        self._unfollow_addresses(conversation_id, self.row(conversation_id), None)
        for key, _ in self.rows.scan(prefix(conversation_id.encode())):
            del self.rows[key]
        self._in_use.pop(conversation_id, None)
        self._merged.clear()
        self._changed_rows.pop(conversation_id, None)
        self._changed.discard(conversation_id)
        self._write_state(conversation_id, None, None, None)

    def flushing(self) -> Generator[None, None, int | None]:
        """Write what has changed to the table and the state topic, once a key; see Contents."""
        if self._changed_rows:
            self.rows.mark()
        for conversation_id, facts in self._changed_rows.items():
            self.rows[group_key(conversation_id.encode(), _ROW)] = conversation.encode(facts)
            yield
        self._changed_rows.clear()
        yield from self.rows.flushing()
        for some in slices(self._changed, self._weigh_row):
            for conversation_id in some:
                yield from self.counting(conversation_id)
            states = [(conversation_id, self.state(conversation_id)) for conversation_id in some]
            yield
            encoded = [(*state, *self._encoded(state[1])) for state in states]
            for conversation_id, fields, value, headers in encoded:
                self._write_state(conversation_id, fields, value, headers)
            yield
        self._unknown |= self._changed
        self._changed.clear()
        received_at, self._received_at = self._received_at, None
        self.trim()
        return received_at

    def _weigh_row(self, conversation_id: str) -> int:
        entry = self._in_use.get(conversation_id)
        return 1 if entry is None else 1 + entry.size // USUAL_BYTES

    def trim(self) -> None:
        """Evict tallies of nothing, and the least recently used if there are too many; reading makes some as well."""
        for conversation_id in self._unknown:
            entry = self._in_use.get(conversation_id)
            if entry is not None and entry.told is None and entry.tally.empty:
                del self._in_use[conversation_id]
        self._unknown.clear()
        while len(self._in_use) > self._in_use_limit:
            self._in_use.popitem(last=False)

    def rewrite(self, topic: str, key: bytes) -> None:
        """Write a key of the changelog, or a state, once more, over a foreign record."""
        if topic == self.rows.changelog:
            self.rows.rewrite(key)
            return
        conversation_id = id_of(topic, self.partition, key)
        if conversation_id is None:
            return
        self.write_state(conversation_id)

    def write_state(self, conversation_id: str) -> None:
        """Write the conversation's state; a tombstone if nothing is known of it."""
        fields = self.state(conversation_id)
        self._write_state(conversation_id, fields, *self._encoded(fields))

    def _encoded(self, fields: dict[str, object] | None) -> Encoded | tuple[None, None]:
        return (None, None) if fields is None else self._contract.conversation_state(fields)

    def _write_state(
        self, conversation_id: str, fields: dict[str, object] | None, value: bytes | None, headers: list[Header] | None
    ) -> None:
        self._sender.write(self._states, conversation_id.encode(), value, self.partition, headers)
        self.hooks.written(conversation_id, fields)

    def state(self, conversation_id: str) -> dict[str, object] | None:
        """Return the fields of the conversation's state, None if nothing is known of it."""
        entry = self._fresh(conversation_id)
        last_id = entry.tally.last_message
        if not conversation.exists(entry.tally.facts, entry.tally):
            return None
        last = None if last_id is None else self.contribution(conversation_id, last_id)
        return conversation.state(conversation_id, entry.tally.facts, entry.tally, last)

    def standing(self, conversation_id: str) -> conversation.Standing | None:
        """Return how the conversation stands, None if nothing is known of it: a cheap part of `state`."""
        entry = self._fresh(conversation_id)
        if not conversation.exists(entry.tally.facts, entry.tally):
            return None
        return conversation.standing(entry.tally.facts, entry.tally)

    def owner(self, conversation_id: str) -> str | None:
        """Return the conversation's organization, as far as known: messages of others in it are invisible."""
        return self._fresh(conversation_id).tally.owner

    def _fresh(self, conversation_id: str) -> InUse:
        entry = self.in_use(conversation_id)
        if entry.tally.stale:
            tally = Tally.of(
                conversation_id,
                self.contributions(conversation_id),
                entry.told,
                ordered=self._counted_before(conversation_id),
            )
            self.take_into_use(conversation_id, tally)
        return entry

    def in_use(self, conversation_id: str) -> InUse:
        """Return the conversation, brought into use if it is not."""
        entry = self._in_use.get(conversation_id)
        if entry is None:
            told, size = self._row(conversation_id)
            entry = InUse(size, Tally.of(conversation_id, self.contributions(conversation_id), told))
            self._in_use[conversation_id] = entry
            if told is None:
                self._unknown.add(conversation_id)
        else:
            self._in_use.move_to_end(conversation_id)
        return entry

    def is_in_use(self, conversation_id: str) -> bool:
        """Return whether the conversation's tally is in memory, and current."""
        entry = self._in_use.get(conversation_id)
        return entry is not None and not entry.tally.stale

    def take_into_use(self, conversation_id: str, tally: Tally) -> None:
        """Bring a conversation into use, with the tally of all its contributions."""
        entry = self._in_use.get(conversation_id)
        if entry is None:
            self._in_use[conversation_id] = InUse(self._row(conversation_id)[1], tally)
            if tally.told is None:
                self._unknown.add(conversation_id)
        elif entry.tally.stale:
            entry.tally = tally
            tally.recounted = True
            if tally.order is not None:
                self._keep_ordered(conversation_id)

    def _counted_before(self, conversation_id: str) -> bool:
        """Return whether a conversation was counted again before: so it may be with each of its messages."""
        entry = self._in_use.get(conversation_id)
        return entry is not None and entry.tally.recounted

    def _keep_ordered(self, conversation_id: str) -> None:
        """Keep the messages of a conversation in order, instead of those of others if there are too many."""
        self._ordered.pop(conversation_id, None)
        self._ordered[conversation_id] = None
        left = conversation.ORDERED
        for name in reversed(tuple(self._ordered)):
            entry = self._in_use.get(name)
            order = None if entry is None else entry.tally.order
            left -= 0 if order is None else len(order)
            if entry is None or order is None or left < 0:
                del self._ordered[name]
                if entry is not None:
                    entry.tally.order = None

    def bringing_into_use(self, conversation_id: str) -> Iterable[None]:
        """Bring a conversation into use, in steps: the next merge then has a bounded cost, however long it is.

        The last step ends with it in use.
        """
        return () if conversation_id in self._in_use else self.counting(conversation_id)

    def counting(self, conversation_id: str) -> Iterator[None]:
        """Build the tally of a conversation in memory, in steps, until it is current."""
        if self.is_in_use(conversation_id):
            return
        counting = Counting(conversation_id)
        for count, (message_id, contribution) in enumerate(self.contributions(conversation_id), 1):
            counting.add(message_id, contribution)
            if count % _COUNTED == 0:
                yield
        tally = yield from counting.tallying(self.row(conversation_id), ordered=self._counted_before(conversation_id))
        self.take_into_use(conversation_id, tally)

    def row(self, conversation_id: str) -> ConversationFacts | None:
        """Return all facts of a conversation's row."""
        return self._row(conversation_id)[0]

    def _row(self, conversation_id: str) -> tuple[ConversationFacts | None, int]:
        changed = self._changed_rows.get(conversation_id)
        if changed is not None:
            return changed, len(conversation.encode(changed))
        stored = self.rows.get(group_key(conversation_id.encode(), _ROW))
        return (None, 0) if stored is None else (conversation.decode(stored), len(stored))

    def contribution(self, conversation_id: str, message_id: str) -> Contribution | None:
        """Return what one message adds to a conversation."""
        stored = self.rows.get(group_key(conversation_id.encode(), message_id.encode()))
        return None if stored is None else contributions.effective(contributions.decode(stored))

    def contributions(self, conversation_id: str) -> Iterator[tuple[str, Contribution]]:
        """Yield what each message adds to a conversation, including those that have left it."""
        for message_id, contribution in self._stored_contributions(conversation_id):
            yield message_id, contributions.effective(contribution)

    def _stored_contributions(self, conversation_id: str) -> Iterator[tuple[str, Contribution]]:
        """Yield all facts of each message, of all writers."""
        for key, stored in self.rows.scan(prefix(conversation_id.encode())):
            _, member = split_key(key)
            if member != _ROW:
                yield member.decode(), contributions.decode(stored)


def _fits(facts: ConversationFacts) -> bool:
    return len(conversation.encode(facts)) <= FACTS_BYTES and conversation.members(facts) <= MAX_MEMBERS


def _weigh(announced: tuple[object, set[str]]) -> int:
    return 1 + len(announced[1])
