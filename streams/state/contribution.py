"""What one message adds to its conversation: the part of the message's facts that the conversation needs."""

from typing import Any

from msgspec import DecodeError, Struct, json, msgpack

from avro import jsontext
from streams.state import status as statuses
from streams.state.registers import NEVER, Register, newer

PREVIEW_CHARACTERS = 280

#: content.type, content.kind and the beginning of the text.
ContentSummary = tuple[str | None, str | None, str | None]


class Contribution(Struct, array_like=True, frozen=True, gc=False):
    """Registers and status of a message. It counts only in the conversation that `conversation_id` names."""

    conversation_id: Register | None
    organization_id: Register | None
    direction: Register | None
    timestamp: Register | None
    created_at: Register | None
    summary: tuple[int, ContentSummary] | None
    status: statuses.Moments


decode = msgpack.Decoder(Contribution).decode
encode = msgpack.Encoder().encode


def join(a: Contribution, b: Contribution) -> Contribution:
    """Return what both say together. Idempotent, commutative, associative."""
    return Contribution(
        _newer(a.conversation_id, b.conversation_id),
        _newer(a.organization_id, b.organization_id),
        _newer(a.direction, b.direction),
        _newer(a.timestamp, b.timestamp),
        _newer(a.created_at, b.created_at),
        _newer_summary(a.summary, b.summary),
        statuses.join(a.status, b.status),
    )


def _newer(a: Register | None, b: Register | None) -> Register | None:
    if a is None or b is None:
        return a or b
    return a if a == b else newer(a, b)


def _newer_summary(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return a or b
    return a if (a[0], summary_order(a[1])) >= (b[0], summary_order(b[1])) else b


def belongs_to(contribution: Contribution, conversation_id: str) -> bool:
    """Return whether the message is in that conversation now; one that has left counts no more."""
    register = contribution.conversation_id
    return register is not None and register[1] == conversation_id


def text_of(register: Register | None) -> str | None:
    """Return the register's text, None if it has none or something else."""
    return register[1] if register is not None and type(register[1]) is str else None


def time_of(contribution: Contribution) -> int | None:
    """Return the message's time: timestamp, else created_at, else None."""
    for register in (contribution.timestamp, contribution.created_at):
        if register is not None and type(register[1]) is int:
            return register[1]
    return None


class _Content(Struct):
    type: Any = None
    kind: Any = None
    text: Any = None


_decode_content = json.Decoder(_Content).decode


def summarize(content: str) -> ContentSummary:
    """Return type, kind and preview of a content (JSON text), None for what it does not say as text.

    `content.text` is a string in running systems and an object with a `body` in the documentation.
    """
    try:
        found = _decode_content(content)
    except DecodeError:
        found = _decode_slowly(content)
    text = found.text.get("body") if type(found.text) is dict else found.text
    return (
        found.type if type(found.type) is str else None,
        found.kind if type(found.kind) is str else None,
        text[:PREVIEW_CHARACTERS] if type(text) is str else None,
    )


def _decode_slowly(content: str) -> _Content:
    # Trap: a number that msgspec cannot hold must not hide the rest. Other content is no object, or not even JSON.
    try:
        found = jsontext.decode(content.encode())
    except (jsontext.MalformedJsonError, RecursionError):
        found = None
    told = found if type(found) is dict else {}
    return _Content(told.get("type"), told.get("kind"), told.get("text"))


def summary_order(summary: ContentSummary) -> tuple[tuple[bool, str], ...]:
    """Return a total order over summaries."""
    return tuple((text is not None, text or "") for text in summary)


def sort_key(message_id: str, contribution: Contribution) -> tuple[int, str]:
    """Return the order of messages in a conversation: by time, then id; those without a time come first."""
    time = time_of(contribution)
    return (NEVER if time is None else time, message_id)
