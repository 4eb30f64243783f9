"""Records of the topic between the tables: what a message adds to a conversation, and what others know of a message."""

from hashlib import sha256

from msgspec import DecodeError, Raw, Struct, ValidationError, msgpack

from avro.instants import FIRST, LAST
from streams.contract import Refused
from streams.state import claims, existence
from streams.state import contribution as contributions
from streams.state.contribution import Contribution
from streams.state.registers import Register


class ContributionRecord(Struct, array_like=True):
    """A value of the contributions topic, keyed by conversation: what a message adds, or None when it is removed.

    `announce` are the status keys of which the conversation has to tell, `received_at` is when the bridge received the
    oldest of the events that this follows from (microseconds since the epoch; None: that is not measured).
    """

    message_id: str
    contribution: Contribution | None
    announce: list[str]
    received_at: int | None = None


class _StoredRecord(Struct, array_like=True):
    """The same, before its contribution is read: that may be one of a former version."""

    message_id: str
    contribution: Raw
    announce: list[str]
    received_at: int | None = None


class HolderRecord(Struct, array_like=True):
    """A value of the contributions topic, keyed by `holders_key`: how old a message is that has had an external id.

    None when the message is removed. `organization` is the one of which they are.
    """

    no_message: str
    message_id: str
    age: existence.Age | None
    organization: str | None = None


class VerdictRecord(Struct, array_like=True):
    """A value of the contributions topic, keyed by message: what others know of whether it exists.

    The deletes of a conversation that it was in (records of a former version do not name it); a rival with one of its
    external ids, and how old the message is as far as is known there. `organization` is the one whose external id that
    is; records of a former version name none.
    """

    no_message: str
    deletes: list[str | None]
    rival: existence.Rival | None
    known: existence.Age | None
    version: int = 1
    organization: str | None = None
    conversation: str | None = None


#: How each of them begins, those of former versions too: no message has an empty id.
_HOLDER, _VERDICT = (b"\x93\xa0", b"\x94\xa0"), (b"\x95\xa0", b"\x97\xa0")

#: How keys of holders begin: no id, as it is not UTF-8.
HOLDERS = b"\xff"

encode_record = msgpack.Encoder().encode
_decode = msgpack.Decoder(_StoredRecord).decode
_decode_holder = msgpack.Decoder(HolderRecord).decode
_decode_verdict = msgpack.Decoder(VerdictRecord).decode


def holders_key(organization: str, external_id: str) -> bytes:
    """Return the key under which the messages of an organization that have had an external id meet."""
    name = organization.encode()
    return HOLDERS + sha256(b"%d\n%b\n%b" % (len(name), name, external_id.encode())).digest()


def decode_record(value: bytes) -> ContributionRecord | HolderRecord | VerdictRecord:
    """Return a record of the contributions topic, read from its bytes. Raises Refused if it is none."""
    try:
        if value.startswith(_HOLDER):
            return _decode_holder(value)
        if value.startswith(_VERDICT):
            return _decode_verdict(value)
        stored = _decode(value)
        # Trap: a Raw is equal to no bytes.
        told = bytes(stored.contribution)
        part = None if told == _NOTHING else contributions.decode(told)
    except (DecodeError, ValidationError, IndexError) as error:
        raise Refused("undecodable", f"not a contribution: {error}") from None
    # Trap: the empty member of a conversation's group is its row.
    if not stored.message_id:
        raise Refused("undecodable", "not a contribution: no message has an empty id")
    if part is not None and not (_all_fit(part) and _announced(part) >= set(stored.announce)):
        raise Refused("undecodable", "not a contribution: values that no message has")
    return ContributionRecord(stored.message_id, part, stored.announce, stored.received_at)


_NOTHING = b"\xc0"


def _all_fit(part: Contribution) -> bool:
    claimed = [told for _, told in part.claims.values()]
    return (
        len(claimed) <= claims.LIMIT and not any(told.claims for told in claimed) and all(map(_fits, (part, *claimed)))
    )


def _announced(part: Contribution) -> set[str]:
    return {name for told in (part, *(told for _, told in part.claims.values())) for name in told.announced}


def _fits(part: Contribution) -> bool:
    received_at = part.received_at
    return (
        (received_at is None or FIRST <= received_at <= LAST)
        and part.claimed is None
        and all(map(_fits_columns, (part.columns, part.partial_columns)))
        and all(
            _fits_register(register, texts=key == _ERRORS)
            for status in (part.status, part.partial_status)
            for key, register in status.items()
        )
    )


def _fits_columns(columns: list[Register | None]) -> bool:
    """Return whether there are none, or one for each name, with values that it can have."""
    if not columns:
        return True
    return len(columns) == len(contributions.NAMES) and all(
        _fits_content(register) if name == _CONTENT else _fits_register(register)
        for name, register in zip(contributions.NAMES, columns, strict=True)
    )


def _fits_content(register: Register | None) -> bool:
    """Return whether it is none, or one with type, kind and preview."""
    if register is None:
        return True
    summary = register[2]
    return type(summary) is list and len(summary) == _SUMMARY and all(type(text) in _TEXTS for text in summary)


def _fits_register(register: Register | None, *, texts: bool = False) -> bool:
    """Return whether its value is a text, an instant (its exact text with it or not), null, or a list of `texts`."""
    if register is None:
        return True
    value = register[2]
    kind = type(value)
    if kind is int:
        return bool(FIRST <= value <= LAST)
    if kind is list:
        exact = len(value) == 2 and type(value[0]) is int and type(value[1]) is bytes  # noqa: PLR2004
        return (exact and FIRST <= value[0] <= LAST) or (texts and all(type(text) in _TEXTS for text in value))
    return value is None or kind is str or kind is bytes


_CONTENT, _ERRORS = "content", "errors"
_SUMMARY = 3
_TEXTS = (str, type(None))
