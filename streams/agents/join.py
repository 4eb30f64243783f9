"""The join: takes batches of raw records, folds them per key, writes each key once, and says what may be committed.

What is acknowledged is never more than what has been written and acknowledged by the broker, because a
position becomes committable only with the checkpoint that holds every write it caused.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from avro.codec import CodecError, UnknownSchemaIdError
from streams.agents.conversations import ConversationTask
from streams.agents.idle import EVICTION, decode_eviction
from streams.agents.messages import MessageTask, decode_contribution
from streams.contract import Contract, Refused, kept_key
from streams.engine.source import Record
from streams.engine.writer import Checkpoint, Positions, Writer
from streams.limits import ID_BYTES
from streams.state.contribution import belongs_to

logger = logging.getLogger(__name__)

_SLICE = 250
_ROOM_S = 0.002


class Join:
    """All partitions that this worker owns in one assignment."""

    def __init__(
        self,
        contract: Contract,
        writer: Writer,
        messages: Mapping[int, MessageTask],
        conversations: Mapping[int, ConversationTask],
        *,
        positions: Mapping[tuple[str, int], int],
        ends: Mapping[tuple[str, int], int],
        coalesce_ms: int,
        in_flight_records: int,
        learn: Callable[[str, int], Coroutine[None, None, bool]],
        on_refused: Callable[[str], None] = lambda _: None,
        on_flush: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Take restored tasks.

        Reading begins at `positions`; `ends` are where the sources ended at that moment. `learn` loads a writer
        schema into the contract, returns False if it could not be asked for, or raises Refused. `on_refused` is told
        the reason of each dead letter, `on_flush` for how long changes have waited to be written.
        """
        self.messages = messages
        self.conversations = conversations
        self._contract = contract
        self._writer = writer
        self._ends = ends
        # Records before the mark may have been processed before, by this worker or another.
        self._replay_until = {task: task.store.mark for task in self.tasks()}
        self._coalesce_s = coalesce_ms / 1000
        self._in_flight_records = in_flight_records
        self._learn = learn
        self._on_refused = on_refused
        self._on_flush = on_flush
        self._positions: Positions = {}
        #: Where reading began, later the ends that were seen: an end can be beyond the last record.
        self._reached: Positions = dict(positions)
        self._changed_since: float | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = asyncio.Event()
        self.processed = 0
        self.refused = 0

    async def process(self, records: Sequence[Record], ends: Iterable[tuple[str, int, int]] = ()) -> bool:
        """Process a batch, after which the `ends` (topic, partition, offset) of partitions were reached.

        Returns False if it was left unfinished because the join is being closed.
        Raises whatever makes the worker unable to go on; nothing is committable then.
        """
        self._idle.clear()
        try:
            for removal, group in groupby(records, self._is_removal):
                run = list(group)
                await (self._remove(run) if removal else self._apply_all(run))
            for topic, partition, offset in ends:
                self._reached[topic, partition] = offset
            if not records:
                return True
            self._publish()
            if self._changed_since is None:
                self._changed_since = time.monotonic()
        except _Closed:
            return False
        finally:
            self._idle.set()
        self.flush_if_due()
        while self._writer.outstanding > self._in_flight_records and not self._closing.is_set():
            await asyncio.sleep(_ROOM_S)
            self._writer.poll()
        return True

    @property
    def changed(self) -> bool:
        """Whether something waits to be written."""
        return self._changed_since is not None

    def position(self, topic: str, partition: int) -> int:
        """Return the offset up to which (exclusive) a source partition is in the tables."""
        at = (topic, partition)
        return max(self._positions.get(at, 0), self._reached.get(at, 0))

    def caught_up(self, partition: int) -> bool:
        """Return whether all that any worker can have read of a partition before this one did is in the tables."""
        return all(self.position(topic, partition) >= self._ends[topic, partition] for topic in self._contract.names)

    def rewrite(self, name: str, partition: int, keys: Iterable[bytes]) -> Checkpoint:
        """Write keys of a guarded log (catalogue name) once more, over what another worker wrote by mistake.

        Returns the checkpoint that ends with them.
        """
        # Trap: what the tables hold must not be written before what it leads to.
        self.flush()
        for key in keys:
            if name == "streams-conversations-changelog":
                self.conversations[partition].rewrite(key)
                continue
            try:
                row_id = key.decode()
            except UnicodeDecodeError:
                logger.warning("%s[%d] holds a key that is no row's: %r", name, partition, key)
                continue
            if name == "conversation-state":
                self.conversations[partition].write_state(row_id)
            else:
                self.messages[partition].rewrite(row_id)
        return self.flush()

    async def undisturbed(self) -> bool:
        """Wait until no batch is in work, so until nothing is half done; False if the join is being closed.

        What is done after it without an await comes between two batches.
        """
        while not (self._idle.is_set() or self._closing.is_set()):
            await self._idle.wait()
        return not self._closing.is_set()

    async def close(self) -> None:
        """Process nothing more, write what has changed, and wait until everything is acknowledged."""
        self._closing.set()
        await self._idle.wait()
        await self._settle()

    def flush_if_due(self) -> None:
        """Write what has changed if it has waited for long enough; safe to call at any time."""
        since = self._changed_since
        if self._idle.is_set() and since is not None and time.monotonic() - since >= self._coalesce_s:
            self.flush()

    def flush(self) -> Checkpoint:
        """Write what has changed, and return the checkpoint that ends with it."""
        self._publish()
        if self._changed_since is not None:
            self._on_flush(time.monotonic() - self._changed_since)
        received = [task.received_at for task in self.conversations.values() if task.received_at is not None]
        for partition, message_task in self.messages.items():
            message_task.flush(self._position("messages", partition))
        for partition, conversation_task in self.conversations.items():
            conversation_task.flush(self._position("conversations", partition))
        self._changed_since = None
        return self._writer.checkpoint(self._positions, min(received, default=None))

    async def _settle(self) -> None:
        self.flush()
        while not self._writer.idle:
            await asyncio.sleep(0.001)
            self._writer.poll()

    async def _apply_all(self, records: list[Record]) -> None:
        for start in range(0, len(records), _SLICE):
            for record in records[start : start + _SLICE]:
                await self._apply(record)
                if self._coalesce_s == 0:
                    self.flush()
            self._writer.poll()
            await asyncio.sleep(0)
            if self._closing.is_set():
                raise _Closed

    async def _apply(self, record: Record) -> None:
        try:
            try:
                self._apply_now(record)
            except UnknownSchemaIdError as unknown:
                await self._learn_schema(self._contract.names[record.topic], unknown.schema_id)
                self._apply_now(record)
        except Refused as refused:
            self._refuse(record, refused)
        except CodecError as error:
            self._refuse(record, Refused(error.reason, error.detail))
        else:
            self._done(record)

    async def _learn_schema(self, name: str, schema_id: int) -> None:
        # The registry may be away for long: what came before must not wait for it too.
        self.flush()
        wait_s = 0.1
        closing = asyncio.create_task(self._closing.wait())
        try:
            while not self._closing.is_set():
                learning = asyncio.create_task(self._learn(name, schema_id))
                await asyncio.wait({learning, closing}, return_when=asyncio.FIRST_COMPLETED)
                if learning.done():
                    if learning.result():
                        return
                    await asyncio.wait({closing}, timeout=wait_s)
                    wait_s = min(wait_s * 2, 5.0)
                else:
                    learning.cancel()
            raise _Closed
        finally:
            closing.cancel()

    def _apply_now(self, record: Record) -> None:
        topic, partition, offset, _, value = record
        if value is None:
            raise AssertionError("removals go another way")
        name = self._contract.names[topic]
        key = _text(record.key)
        if name == "streams-contributions":
            self.conversations[partition].apply_contribution(key, decode_contribution(value))
            return
        if not key:
            raise Refused("bad_key", "the key is empty")
        event = self._contract.event(name, value)
        if event["id"] != key:
            raise Refused("key_mismatch", "the key is not the row's id, so the record is in no known partition")
        if name == "messages":
            task = self.messages[partition]
            task.apply(event, len(value), replayed=offset < self._replay_until[task])
        else:
            rows = self.conversations[partition]
            rows.apply_row(event, len(value), replayed=offset < self._replay_until[rows])

    async def _remove(self, records: list[Record]) -> None:
        for start in range(0, len(records), _SLICE):
            await self._remove_some(records[start : start + _SLICE])
            await asyncio.sleep(0)
            if self._closing.is_set():
                raise _Closed

    async def _remove_some(self, records: list[Record]) -> None:
        self.flush()
        refusals: list[tuple[Record, Refused]] = []
        removals: list[_Removal] = []
        for record in records:
            try:
                removal = self._removal(record)
            except Refused as refused:
                refusals.append((record, refused))
            else:
                removals += [] if removal is None else [removal]
        # Trap: without the waits a crash could leave the facts gone and somebody untold, for ever: what a conversation
        # knows is the only list of its messages, and facts are the only list of what a removal takes back. No record
        # counts as done before them: the checkpoints that the waits make must not cover a removal that is half done.
        if any(removal.with_messages for removal in removals):
            await self._remove_messages(removals)
        for removal in removals:
            removal.task.retract(removal.key)
        await self._settle()
        for removal in removals:
            removal.task.remove(removal.key)
        refused_records = {id(record) for record, _ in refusals}
        for record, refusal in refusals:
            self._refuse(record, refusal)
        for record in records:
            if id(record) not in refused_records:
                self._done(record)

    def _removal(self, record: Record) -> "_Removal | None":
        """Return what a record removes, None for nothing. Raises Refused. Flush before."""
        key = _text(record.key)
        name = self._contract.names[record.topic]
        if name == "messages":
            return _Removal(self.messages[record.partition], key)
        task = self.conversations[record.partition]
        if name == "conversations":
            return _Removal(task, key)
        if record.value is None:
            raise Refused("undecodable", "a contribution without a value")
        idle = task.is_idle(key, decode_eviction(record.value))
        return _Removal(task, key, with_messages=True) if idle else None

    async def _remove_messages(self, removals: list["_Removal"]) -> None:
        """Write tombstones for the messages of conversations, and wait until they are acknowledged."""
        topic = self._contract.topic("messages")
        for task, conversation_id, _ in filter(lambda removal: removal.with_messages, removals):
            contributions = self.conversations[task.partition].contributions(conversation_id)
            for count, (message_id, part) in enumerate(contributions, 1):
                if belongs_to(part, conversation_id):
                    self._writer.write(topic, message_id.encode(), None)
                if count % _SLICE == 0:
                    self._writer.poll()
                    await asyncio.sleep(0)
            while self._writer.outstanding > self._in_flight_records:
                await asyncio.sleep(_ROOM_S)
                self._writer.poll()
        await self._settle()

    def _refuse(self, record: Record, refused: Refused) -> None:
        value, headers = self._contract.dead_letter(record, refused)
        self._writer.write(self._contract.topic("dead-letters"), kept_key(record), value, headers=headers)
        self.refused += 1
        self._on_refused(refused.reason)
        self._done(record)

    def _is_removal(self, record: Record) -> bool:
        value = record.value
        return value is None or (
            value.startswith(EVICTION) and self._contract.names[record.topic] == "streams-contributions"
        )

    def _done(self, record: Record) -> None:
        self._positions[record.topic, record.partition] = record.offset + 1
        self.processed += 1

    def _publish(self) -> None:
        for task in self.tasks():
            task.publish()

    def _position(self, name: str, partition: int) -> int:
        return self._positions.get((self._contract.topic(name), partition), 0)

    def tasks(self) -> Iterator[MessageTask | ConversationTask]:
        """Yield all tasks."""
        yield from self.messages.values()
        yield from self.conversations.values()


class _Removal(NamedTuple):
    """What is removed from which table; a conversation `with_messages` takes those that belong to it along."""

    task: MessageTask | ConversationTask
    key: str
    with_messages: bool = False


class _Closed(Exception):  # noqa: N818 no error: the rest of the batch is for whoever is next
    """The join is being closed."""


def _text(key: bytes | None) -> str:
    if not key:
        raise Refused("no_key", "the record has no key")
    if len(key) > ID_BYTES:
        raise Refused("too_large", f"the key exceeds {ID_BYTES} bytes")
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise Refused("bad_key", "the key is not UTF-8") from None
