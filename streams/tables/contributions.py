"""Records of the topic between the tables: what a message adds to a conversation, and verdicts on messages.

Those between conversations and their contacts are in `streams.tables.links`.
"""

from hashlib import sha256

from msgspec import DecodeError, Raw, Struct, ValidationError, msgpack

from avro.instants import FIRST, LAST
from openbsp.merge import claims
from openbsp.merge.registers import Register, Registers
from streams.contract import Refused
from streams.state import contribution as contributions
from streams.state import existence
from streams.state.contribution import Contribution
from streams.tables.links import Link, decode_link, is_link


class ContributionRecord(Struct, array_like=True):
    """A value of the contributions topic, keyed by conversation: what a message adds, or None when it is removed.

    `announce` are the status keys that the conversation has to publish. `received_at` is when the bridge received the
    oldest of the causing events (microseconds since the epoch; None: not measured).
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
    """A value of the contributions topic, keyed by `holders_key`: a message that has had an external id.

    None when the message is removed. `organization` is the one whose external id that is.
    """

    no_message: str
    message_id: str
    holder: existence.Holder | None
    organization: str | None = None


class VerdictRecord(Struct, array_like=True):
    """A value of the contributions topic, keyed by message: what others know of whether it exists.

    The deletes of a conversation that it was in (records of a former version do not name it); rivals with one of its
    external ids, and the message itself as known there. `organization` is the one whose external id that is; records of
    a former version name none.
    """

    no_message: str
    deletes: list[str | None]
    rivals: existence.StoredRivals | None
    known: existence.Holder | None
    #: Never read; it holds its place in the array.
    version: int = 1
    organization: str | None = None
    conversation: str | None = None


#: The first bytes of each kind, of former versions too: no message has an empty id.
_HOLDER, _VERDICT = (b"\x93\xa0", b"\x94\xa0"), (b"\x95\xa0", b"\x97\xa0")

#: The first byte of a holders' key: not UTF-8, so no id begins with it.
HOLDERS = b"\xff"

encode_record = msgpack.Encoder().encode
_decode = msgpack.Decoder(ContributionRecord).decode
_decode_stored = msgpack.Decoder(_StoredRecord).decode
_decode_holder = msgpack.Decoder(HolderRecord).decode
_decode_verdict = msgpack.Decoder(VerdictRecord).decode


def holders_key(organization: str, external_id: str) -> bytes:
    """Return the key that all messages with an organization's external id share."""
    name = organization.encode()
    return HOLDERS + sha256(b"%d\n%b\n%b" % (len(name), name, external_id.encode())).digest()


def decode_record(value: bytes) -> ContributionRecord | HolderRecord | VerdictRecord | Link:
    """Return a record of the contributions topic, read from its bytes. Raises Refused if it is none."""
    if is_link(value):
        return decode_link(value)
    try:
        if value.startswith(_HOLDER):
            return _decode_holder(value)
        if value.startswith(_VERDICT):
            return _decode_verdict(value)
        record = _contribution_record(value)
    except (DecodeError, ValidationError, IndexError) as error:
        raise Refused("undecodable", f"not a contribution: {error}") from None
    # Trap: the empty member of a conversation's group is its row.
    if not record.message_id:
        raise Refused("undecodable", "not a contribution: no message has an empty id")
    part = record.contribution
    if part is not None and not (_all_fit(part) and _announced(part).issuperset(record.announce)):
        raise Refused("undecodable", "not a contribution: values that no message has")
    return record


def _contribution_record(value: bytes) -> ContributionRecord:
    try:
        record = _decode(value)
        if record.contribution is None or record.contribution.format == contributions.FORMAT:
            return record
    except ValidationError:
        # One of a former version may have other members.
        pass
    stored = _decode_stored(value)
    # Trap: a Raw is equal to no bytes.
    content = bytes(stored.contribution)
    part = None if content == _NOTHING else contributions.decode(content)
    return ContributionRecord(stored.message_id, part, stored.announce, stored.received_at)


_NOTHING = b"\xc0"


def _all_fit(part: Contribution) -> bool:
    if not part.claims:
        return _fits(part)
    claimed = [told for _, told in part.claims.values()]
    return (
        len(claimed) <= claims.LIMIT and not any(told.claims for told in claimed) and all(map(_fits, (part, *claimed)))
    )


def _announced(part: Contribution) -> set[str]:
    return set(part.announced).union(*(told.announced for _, told in part.claims.values()))


def _fits(part: Contribution) -> bool:
    received_at = part.received_at
    return (
        (received_at is None or FIRST <= received_at <= LAST)
        and part.claimed is None
        and _fits_columns(part.columns)
        and _fits_columns(part.partial_columns)
        and _fits_status(part.status)
        and _fits_status(part.partial_status)
    )


def _fits_columns(columns: contributions.Columns) -> bool:
    """Return whether there are none, or one for each name, with values that it can have."""
    if not columns:
        return True
    if len(columns) != len(contributions.NAMES):
        return False
    for place, register in enumerate(columns):
        if register is None or (type(register[2]) is str and place != contributions.CONTENT):
            continue
        if not (_fits_content(register) if place == contributions.CONTENT else _fits_register(register)):
            return False
    return True


def _fits_status(status: Registers) -> bool:
    for key, register in status.items():
        value = register[2]
        is_instant = type(value) is int and FIRST <= value <= LAST
        if not is_instant and not _fits_register(register, texts=key == _ERRORS):
            return False
    return True


def _fits_content(register: Register) -> bool:
    """Return whether it has type, kind and preview."""
    summary = register[2]
    return type(summary) is list and len(summary) == _SUMMARY and all(type(text) in _TEXTS for text in summary)


def _fits_register(register: Register, *, texts: bool = False) -> bool:
    """Return whether its value is a text, an instant (its exact text with it or not), null, or a list of `texts`."""
    value = register[2]
    kind = type(value)
    if kind is int:
        return bool(FIRST <= value <= LAST)
    if kind is list:
        exact = len(value) == 2 and type(value[0]) is int and type(value[1]) is bytes  # noqa: PLR2004
        return (exact and FIRST <= value[0] <= LAST) or (texts and all(type(text) in _TEXTS for text in value))
    return value is None or kind is str or kind is bytes


_ERRORS = "errors"
_SUMMARY = 3
_TEXTS = (str, type(None))
