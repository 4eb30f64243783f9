"""Conversations without recent activity: finding them, and the request to remove one.

A request is a record of the contributions topic, so the conversation's owner reads it in order with all its other
records, checks again whether the conversation is idle, and replays it after a crash. Requests may be sent at any time,
any number of times.
"""

from collections.abc import Generator, Iterable, Iterator

from msgspec import DecodeError, Struct, ValidationError, msgpack

from openbsp.merge.registers import NEVER, Register, instant_of, moment_of
from streams.contract import Refused
from streams.engine.stores import split_key
from streams.engine.table import TablePartition
from streams.state import contribution as contributions
from streams.state import conversation
from streams.state.contribution import Contribution
from streams.state.conversation import ConversationFacts

#: The first bytes of each eviction: no Avro record and no contribution begins like that.
EVICTION = b"\x92\xa0"

_ROW = b""
#: Later than any request: what is deleted has to be remembered for good.
_FOR_GOOD = 2**63
#: Entries of a table that are read before other tasks run: about a millisecond's work.
_SLICE = 250


class _Eviction(Struct, array_like=True):
    """The empty id is that of no message."""

    message_id: str
    idle_before: int


_decode = msgpack.Decoder(_Eviction).decode


def encode_eviction(idle_before: int) -> bytes:
    """Return the request to remove a conversation if nothing in it is as late as that (microseconds since 1970)."""
    return msgpack.encode(_Eviction("", idle_before))


def decode_eviction(value: bytes) -> int:
    """Return the instant in a request. Raises Refused for other bytes."""
    try:
        return _decode(value).idle_before
    except (DecodeError, ValidationError) as error:
        raise Refused("undecodable", f"not an eviction: {error}") from None


def last_activity(conversation_id: str, group: Iterable[tuple[bytes, bytes]]) -> Generator[None, None, int | None]:
    """Return the latest instant in the stored group of a conversation, None if it has none; in steps.

    These are the versions of all columns, the instants in `created_at`, `updated_at` and `timestamp`, and the moments
    of statuses; of the row, and of the messages that belong to the conversation now. One that was deleted has a later
    one than any request.
    """
    latest = NEVER
    for count, (key, stored) in enumerate(group, 1):
        latest = max(latest, _latest(conversation_id, split_key(key)[1], stored))
        if count % _SLICE == 0:
            yield
    return None if latest == NEVER else latest


def idle_conversations(rows: TablePartition, before: int) -> Iterator[str | None]:
    """Yield the conversations of a partition whose last activity is known and before an instant.

    Yields None between slices of its reading, so that other tasks can run; it remembers one conversation's id.
    """
    current: bytes | None = None
    conversation_id = ""
    latest = NEVER
    for count, (key, stored) in enumerate(rows.scan(b""), 1):
        group, member = split_key(key)
        if group != current:
            if NEVER < latest < before:
                yield conversation_id
            current, conversation_id, latest = group, group.decode(), NEVER
        if latest < before:
            latest = max(latest, _latest(conversation_id, member, stored))
        if count % _SLICE == 0:
            yield None
    if NEVER < latest < before:
        yield conversation_id


def _latest(conversation_id: str, member: bytes, stored: bytes) -> int:
    if member == _ROW:
        return _of_row(conversation.decode(stored))
    part = contributions.effective(contributions.decode(stored))
    return _of_message(part) if contributions.belongs_to(part, conversation_id) else NEVER


def _of_row(told: ConversationFacts) -> int:
    # Trap: its messages may be another organization's, which the delete does not concern, or not have answered yet.
    if conversation.has_deletes(told):
        return _FOR_GOOD
    columns = conversation.effective(told).columns
    return _latest_of([columns.get("created_at"), columns.get("updated_at")], columns.values())


def _of_message(part: Contribution) -> int:
    told = [*part.columns, *part.partial_columns, *part.status.values(), *part.partial_status.values()]
    return _latest_of(told, told)


def _latest_of(values: Iterable[Register | None], versions: Iterable[Register | None]) -> int:
    moments = [moment_of(register) for register in values]
    moments += [instant_of(register[1]) for register in versions if register is not None]
    return max((moment for moment in moments if moment is not None), default=NEVER)
