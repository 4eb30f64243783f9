"""Conversations in which nothing happens any more: who they are, and the request that they be removed.

A request is a record of the contributions topic, so the owner of the conversation meets it in order with everything
else that the conversation hears of, judges again whether it still is idle, and does it again after a crash. Anybody
may send one at any time, as often as they like.
"""

from collections.abc import Iterable, Iterator

from msgspec import DecodeError, Struct, ValidationError, msgpack

from streams.contract import Refused
from streams.engine.stores import split_key
from streams.engine.table import TablePartition
from streams.state import contribution as contributions
from streams.state import conversation
from streams.state.contribution import Contribution
from streams.state.conversation import ConversationFacts
from streams.state.registers import NEVER, Register, instant_of, moment_of

#: How each eviction begins: no Avro record and no contribution does.
EVICTION = b"\x92\xa0"

_ROW = b""
#: Entries of a table that are read before others get their turn: about a millisecond's work.
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
    """Return what `encode_eviction` took. Raises Refused for other bytes."""
    try:
        return _decode(value).idle_before
    except (DecodeError, ValidationError) as error:
        raise Refused("undecodable", f"not an eviction: {error}") from None


def last_activity(conversation_id: str, group: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Return the latest instant that the stored group of a conversation tells, None if it tells none.

    These are the versions of all columns, what `created_at`, `updated_at` and `timestamp` say, and the moments of
    statuses; of the row, and of the messages that belong to the conversation now.
    """
    latest = max((_latest(conversation_id, split_key(key)[1], stored) for key, stored in group), default=NEVER)
    return None if latest == NEVER else latest


def idle_conversations(rows: TablePartition, before: int) -> Iterator[str | None]:
    """Yield the conversations of a partition whose last activity is known and before an instant.

    Yields None between slices of what it reads, for others to get their turn; it remembers one conversation's id.
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
        return _of_row(conversation.effective(conversation.decode(stored)))
    part = contributions.effective(contributions.decode(stored))
    return _of_message(part) if contributions.belongs_to(part, conversation_id) else NEVER


def _of_row(facts: ConversationFacts) -> int:
    columns = facts.columns
    return _latest_of([columns.get("created_at"), columns.get("updated_at")], columns.values())


def _of_message(part: Contribution) -> int:
    told = [*part.columns, *part.partial_columns, *part.status.values(), *part.partial_status.values()]
    return _latest_of(told, told)


def _latest_of(values: Iterable[Register | None], versions: Iterable[Register | None]) -> int:
    moments = [moment_of(register) for register in values]
    moments += [instant_of(register[1]) for register in versions if register is not None]
    return max((moment for moment in moments if moment is not None), default=NEVER)
