"""Intake: each event is merged, or becomes a dead letter."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from avro import writers
from avro.catalogue import DELETE, MAX_MEMBERS
from avro.codec import CodecError, UnknownSchemaIdError
from streams.contract import Contract, Refused, kept_key
from streams.engine.hooks import Hook
from streams.engine.source import Record
from streams.engine.stream import Inbox
from streams.engine.table import Sender
from streams.limits import FORMER_ID_BYTES, ID_BYTES

#: Events that an agent takes at once.
SLICE = 250
#: At least so many bytes of them are read before the first is merged.
_READ_BYTES = 256 * 1024

#: Returns an event's content. Raises Refused, CodecError, UnknownSchemaIdError.
Read = Callable[[Record], Any]
#: Reads what merging an event needs, in small steps; nothing (falsy) if it is in memory. Raises Refused.
Before = Callable[[Record, Any], Iterable[None]]
#: Merges an event, with its content. Raises Refused.
Merge = Callable[[Record, Any], None]
#: Writes what a merged event causes, in small steps.
Then = Callable[[Record], Iterator[None]]
#: Loads a writer schema (of a source by its catalogue name, by id) into the contract, returns False if the registry
#: does not answer, or raises Refused.
Learn = Callable[[str, int], Coroutine[None, None, bool]]


class RowEvent(NamedTuple):
    """An event of an entity: its fields, its bytes, and the organizations that its writer may write for (None: all)."""

    fields: dict[str, object]
    size: int
    organizations: frozenset[str] | None


class Intake:
    """Takes the events of all sources."""

    def __init__(self, contract: Contract, sender: Callable[[], Sender], learn: Learn) -> None:
        """Write dead letters with the result of `sender`."""
        self.contract = contract
        #: A record has become a dead letter, for this reason.
        self.refused: Hook[[str]] = Hook()
        #: A record has an unknown schema id.
        self.unknown_schema: Hook[[]] = Hook()
        self._sender = sender
        self._learn = learn

    async def take(
        self,
        inbox: Inbox,
        events: Sequence[Record],
        read: Read,
        merge: Merge,
        *,
        before: Before | None = None,
        then: Then | None = None,
    ) -> None:
        """Read events, then merge them one by one. Unusable ones become dead letters.

        While the registry does not answer, an event with an unknown schema waits, and so do those after it. Once the
        partitions are revoked they are left.
        """
        left = events
        absent: dict[int, Refused] = {}
        while left:
            told, unknown = _read(left, read)
            await inbox.breathe()
            for event, what in zip(left, told, strict=False):
                try:
                    if isinstance(what, Refused):
                        raise what
                    if before is not None and (steps := before(event, what)):
                        await _step_by_step(inbox, steps)
                    merge(event, what)
                except Refused as refused:
                    self.refuse(event, refused)
                else:
                    if then is not None:
                        await _step_by_step(inbox, then(event))
                inbox.done(event)
                await inbox.breathe()
            left = left[len(told) :]
            if unknown is not None:
                left = await self._once_learned(inbox, left, unknown, absent)

    async def _once_learned(
        self, inbox: Inbox, left: Sequence[Record], schema_id: int, absent: dict[int, Refused]
    ) -> Sequence[Record]:
        """Return what can be read once the schema of the first event is known; nothing if it is ending.

        `absent` are the ids that the registry did not have: all of the events were there before it was asked.
        """
        try:
            if schema_id in absent:
                raise absent[schema_id]
            self.unknown_schema()
            return left if await self._learned(inbox, left[0], schema_id) else ()
        except Refused as refused:
            absent[schema_id] = refused
            self.refuse(left[0], refused)
            inbox.done(left[0])
            return left[1:]

    def refuse(self, event: Record, refused: Refused) -> None:
        """Write the dead letter of an event."""
        value, headers = self.contract.dead_letter(event, refused)
        self._sender().write(self.contract.topic("dead-letters"), kept_key(event), value, headers=headers)
        self.refused(refused.reason)

    def set_aside(self, event: Record) -> None:
        """Write the dead letter of an event that has repeatedly ended workers."""
        self.refuse(event, Refused("ends_worker", "each time it was the only event in work, the worker ended"))

    def text(self, key: bytes | None) -> str:
        """Return a key as text. Raises Refused."""
        if not key:
            raise Refused("no_key", "the record has no key")
        if len(key) > FORMER_ID_BYTES:
            raise Refused("too_large", f"the key exceeds {FORMER_ID_BYTES} bytes")
        try:
            return key.decode()
        except UnicodeDecodeError:
            raise Refused("bad_key", "the key is not UTF-8") from None

    def row(self, event: Record) -> "RowEvent":
        """Return the content of an entity's event. Raises Refused, CodecError."""
        key = self.text(event.key)
        assert event.key is not None  # noqa: S101 it is a text
        assert event.value is not None  # noqa: S101 removals go another way
        fields = self.contract.event(self.contract.names[event.topic], event.value)
        most = FORMER_ID_BYTES if fields["action"] == DELETE else ID_BYTES
        if len(event.key) > most:
            raise Refused("too_large", f"the key exceeds {most} bytes")
        if fields["id"] != key:
            raise Refused("key_mismatch", "the key is not the row's id, so the record is in no known partition")
        if _members(fields) > MAX_MEMBERS:
            raise Refused("too_large", f"the row has more than {MAX_MEMBERS} columns, status keys and errors")
        organizations, named = self.writer(event), fields["organization_id"]
        if named is not None and len(named.encode()) > most:
            raise Refused("too_large", f"the organization's id exceeds {most} bytes")
        if organizations is not None and named is not None and named not in organizations:
            raise Refused("bad_header", "the row names an organization for which its writer has no right to write")
        return RowEvent(fields, len(event.value), organizations)

    def writer(self, event: Record) -> frozenset[str] | None:
        """Return the organizations that an event's writer may write for, None for all. Raises Refused."""
        try:
            return writers.organizations_of(event.headers)
        except ValueError:
            raise Refused("bad_header", f"{writers.NAME} names no organization in UTF-8") from None

    async def _learned(self, inbox: Inbox, event: Record, schema_id: int) -> bool:
        # The registry may be away for long: earlier events must not wait for it too.
        await inbox.flush()
        name = self.contract.names[event.topic]
        wait_s = 0.1
        ending = asyncio.create_task(inbox.ending.wait())
        try:
            while not inbox.ending.is_set():
                learning = asyncio.create_task(self._learn(name, schema_id))
                await asyncio.wait({learning, ending}, return_when=asyncio.FIRST_COMPLETED)
                if learning.done():
                    if learning.result():
                        return True
                    await asyncio.wait({ending}, timeout=wait_s)
                    wait_s = min(wait_s * 2, 5.0)
                else:
                    learning.cancel()
            return False
        finally:
            ending.cancel()


def _read(events: Sequence[Record], read: Read) -> tuple[list[Any], int | None]:
    """Return the content of each of the first events, or why it is refused.

    Ends with enough bytes for one turn, or before an event with an unknown schema, whose id comes second.
    """
    # Reading and merging are separate: see streams.tables.in_slices.
    told: list[Any] = []
    size = 0
    for event in events:
        try:
            told.append(read(event))
        except UnknownSchemaIdError as unknown:
            return told, unknown.schema_id
        except Refused as refused:
            told.append(refused)
        except CodecError as error:
            told.append(Refused(error.reason, error.detail))
        size += len(event.value or b"")
        if size > _READ_BYTES:
            break
    return told, None


def _members(fields: dict[str, Any]) -> int:
    """Return how many columns of a row have no typed field, and how many keys and errors its status has.

    More, up to the limit of a row: a key whose text has more than its instant is in two fields.
    """
    status, others = fields.get("status"), fields.get("status_extra") or ()
    keys = status if isinstance(status, dict) else ()  # a conversation's is a text
    count = len(fields["extra"]) + len(fields["nulls"]) + len(fields.get("errors") or ())
    at_most = count + len(keys) + len(others)
    return at_most if at_most <= MAX_MEMBERS else count + len({*keys, *others})


async def _step_by_step(inbox: Inbox, steps: Iterable[None]) -> None:
    for _ in steps:
        await inbox.breathe()
