"""What one message adds to its conversation: the part of the message's facts that the conversation needs."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

from msgspec import DecodeError, Struct, json, msgpack, structs

from avro import jsontext
from openbsp.merge import claims, deletion, registers
from openbsp.merge.registers import NEVER, Register, Registers, Version, later, moment_of, newer, shown, text_of
from streams.state import existence, former
from streams.state import status as statuses

PREVIEW_CHARACTERS = 280
REACTION = "reaction"
DAY_US = 24 * 60 * 60 * 1_000_000

#: What a conversation takes from its newest message while its own row is unknown.
BORROWED = ("organization_id", "service", "organization_address", "contact_address", "group_address")

#: The columns of a contribution, in their order in it; of `content` the summary.
NAMES = (*BORROWED, "conversation_id", "direction", "timestamp", "created_at", "updated_at", "content")
_PLACES = {name: place for place, name in enumerate(NAMES)}
_CONVERSATION, _DIRECTION, _TIMESTAMP, _CREATED, _UPDATED, CONTENT = range(len(BORROWED), len(NAMES))
_ORGANIZATION = 0

#: content.type, content.kind and the beginning of the text.
ContentSummary = tuple[str | None, str | None, str | None]

#: One for each of NAMES, or none at all.
Columns = list[Register | None]
_NO_COLUMNS: Columns = [None] * len(NAMES)

#: The number with which a stored contribution begins; those of former versions are read by `streams.state.former`.
FORMAT = 3
#: Same members, without claims.
_UNCLAIMED = 2


class Contribution(Struct, array_like=True, frozen=True, gc=False):
    """Registers and status of a message. It counts only in the conversation that `conversation_id` names.

    As `MessageFacts`, without what a conversation does not need. `keys` is the number of status keys if `status` and
    `partial_status` hold fewer, `stays` are the deleted conversations. `entered`, of claims only, is when the first row
    was received that places the message in this conversation. `claimed` is the same with the message's organization;
    None if trusted writers name that, and before `effective`.
    """

    format: int = FORMAT
    columns: Columns = []
    status: Registers = {}
    partial_columns: Columns = []
    partial_status: Registers = {}
    newest: Version | None = None
    newest_partial: int | None = None
    keys: int = 0
    announced: list[str] = []
    organizations: list[str] = []
    received_at: int | None = None
    deletes: list[str | None] = []
    rivals: dict[str, existence.StoredRivals] = {}
    stays: dict[str, existence.Stay] = {}
    claims: "dict[str, tuple[int | None, Contribution]]" = {}
    claimed: tuple[int, str] | None = None
    created_at: int | None = None
    entered: int | None = None


encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(Contribution).decode


def decode(stored: bytes) -> Contribution:
    """Return a stored contribution."""
    version = registers.format_of(stored)
    if version == FORMAT:
        return _decode(stored)
    if version == _UNCLAIMED:
        return Contribution(**former.unclaimed_contribution(stored))
    told = former.contribution(stored)
    return Contribution(**told | {"columns": placed(told["columns"])})


def predates_holders(stored: bytes) -> bool:
    """Return whether holders of its external ids may not know of the message: version 1 had none.

    With its next event, or on request, a message is written in the current form.
    """
    return registers.format_of(stored) not in {_UNCLAIMED, FORMAT}


def of(
    columns: Columns,
    partial_columns: Columns,
    status: Registers,
    partial_status: Registers,
    *,
    newest: Version | None,
    newest_partial: int | None,
    announced: list[str],
    organizations: list[str],
    received_at: int | None,
    deletes: list[str | None],
    rivals: dict[str, existence.StoredRivals],
    stays: dict[str, existence.Stay] | None = None,
    created_at: int | None = None,
    entered: int | None = None,
) -> Contribution:
    """Return the contribution of a message; of too many status keys those that matter to a conversation."""
    keys = 0
    if len(status) + len(partial_status) > statuses.ANNOUNCED_PER_ROW:
        keys = len({*status, *partial_status})
        wanted = {*statuses.DOCUMENTED, statuses.ERRORS, *announced}
        status = {key: register for key, register in status.items() if key in wanted}
        partial_status = {key: register for key, register in partial_status.items() if key in wanted}
    return Contribution(
        columns=columns,
        status=status,
        partial_columns=partial_columns,
        partial_status=partial_status,
        newest=newest,
        newest_partial=newest_partial,
        keys=keys,
        announced=announced,
        organizations=organizations,
        received_at=received_at,
        deletes=deletes,
        rivals=rivals,
        stays=stays or {},
        created_at=created_at,
        entered=entered,
    )


def placed(columns: Mapping[str, Register]) -> Columns:
    """Return the registers of NAMES in their order."""
    return [columns.get(name) for name in NAMES] if columns else []


def join(a: Contribution, b: Contribution) -> Contribution:
    """Merge two contributions. Idempotent, commutative, associative."""
    return claims.join_facts(a, b, _join_unclaimed, _stripped)


def effective(part: Contribution) -> Contribution:
    """Return what counts, without claims. All functions but `join` take effective ones."""
    if not part.claims:
        return part
    named, first = organization_of(part), claims.first(part.claims)
    trusted = structs.replace(part, claims={})
    found = reduce(_join_unclaimed, claims.of(part.claims, claims.owner(named, part.claims)), trusted)
    if named is not None or first is None:
        return found
    # Trap: not when the message was claimed. A writer that moves an old message of its own into a conversation would
    # own it.
    return structs.replace(found, claimed=(first[0] if found.entered is None else found.entered, first[1]))


def _join_unclaimed(a: Contribution, b: Contribution) -> Contribution:
    names, limit = deletion.join_names, deletion.NAMES_LIMIT
    joined = Contribution(
        columns=_join_columns(a.columns, b.columns),
        status=registers.join(a.status, b.status),
        partial_columns=_join_columns(a.partial_columns, b.partial_columns),
        partial_status=registers.join(a.partial_status, b.partial_status),
        newest=later(a.newest, b.newest),
        newest_partial=later(a.newest_partial, b.newest_partial),
        keys=max(a.keys, b.keys),
        announced=names(a.announced, b.announced),
        organizations=names(a.organizations, b.organizations, limit),
        received_at=later(a.received_at, b.received_at),
        deletes=deletion.join_deletes(a.deletes, b.deletes),
        rivals=existence.join_rivals(a.rivals, b.rivals),
        stays=existence.join_stays(a.stays, b.stays),
        created_at=later(a.created_at, b.created_at),
        entered=claims.earlier(a.entered, b.entered),
    )
    if deletion.is_certain(joined.deletes, joined.organizations):
        return _stripped(joined)
    cut = existence.cut_of(joined.stays, joined.organizations)
    return joined if cut is None else _cut(joined, cut)


def _cut(part: Contribution, cut: Version) -> Contribution:
    """Return what is left of a message after the deletion of a conversation that it was in."""
    columns = [
        register if register is not None and (place == _ORGANIZATION or register[:2] > cut) else None
        for place, register in enumerate(part.columns)
    ]
    owner = part.partial_columns[_ORGANIZATION] if part.partial_columns else None
    return structs.replace(
        part,
        columns=columns if any(columns) else [],
        status=registers.cut_status(part.status, cut),
        partial_columns=[] if owner is None else placed({NAMES[_ORGANIZATION]: owner}),
        partial_status=dict.fromkeys(part.partial_status, (*registers.UNFIT, None)),
    )


def _stripped(part: Contribution) -> Contribution:
    return Contribution(
        status=names_only(part.status),
        partial_status=names_only(part.partial_status),
        newest=part.newest,
        newest_partial=part.newest_partial,
        keys=part.keys,
        organizations=part.organizations,
        deletes=part.deletes,
        rivals=part.rivals,
        stays=part.stays,
        created_at=part.created_at,
    )


def names_only(status: Registers) -> Registers:
    """Return a status with its keys only, so that they can be counted."""
    return dict.fromkeys(status, (0, 0, None))


def _join_columns(a: Columns, b: Columns) -> Columns:
    if not b or a == b:
        return a
    if not a:
        return b
    return [
        _newer_summary(x, y) if place == CONTENT else _newer(x, y)
        for place, (x, y) in enumerate(zip(a, b, strict=True))
    ]


def _newer(a: Register | None, b: Register | None) -> Register | None:
    if a is None or b is None:
        return a or b
    return a if a == b else newer(a, b)


def _newer_summary(a: Register | None, b: Register | None) -> Register | None:
    if a is None or b is None:
        return a or b
    return a if (a[:2], summary_order(a[2])) >= (b[:2], summary_order(b[2])) else b


def age_of(
    status: Registers, partial_status: Registers, newest: Version | None, newest_partial: int | None, keys: int = 0
) -> existence.Age:
    """Return the age of a message: the number of status keys that it ever had, and its newest row's stamp.

    Partial rows do not give that number, so their instants decide, as everywhere.
    """
    count = max(keys, len(status | partial_status if partial_status else status))
    # Trap: an age must never fall. A row with all keys may have an earlier instant than one before it with fewer.
    stamp = newest[1] if newest is not None and newest[0] >= count else None
    latest = later(stamp, newest_partial)
    return count, registers.undated(None) if latest is None else latest


def exists(part: Contribution) -> bool:
    """Return whether the message exists: neither deleted nor superseded."""
    if part.deletes and deletion.is_deleted(part.deletes, part.organizations):
        return False
    if part.stays and is_gone_with(part.stays, part.organizations, text_of(register_at(part, _CONVERSATION))):
        return False
    return not part.rivals or not existence.is_superseded(_holder(part), part.rivals.get(organization_of(part) or ""))


def _holder(part: Contribution) -> existence.Holder:
    age = age_of(part.status, part.partial_status, part.newest, part.newest_partial, part.keys)
    created_at = later(part.created_at, moment_of(register_at(part, _CREATED)))
    return existence.holder(age, created_at, part.deletes, part.stays, part.organizations)


def is_gone_with(stays: Mapping[str, existence.Stay], organizations: list[str], conversation: str | None) -> bool:
    """Return whether a message is deleted with a conversation: it was in that, and is in no other one now."""
    if existence.cut_of(stays, organizations) is not None:
        return conversation is None
    # While its organization is unknown, every organization's delete counts, but nothing is dropped for it.
    stay = None if organizations or conversation is None else stays.get(conversation)
    return stay is not None and bool(stay[2])


def register_at(part: Contribution, place: int) -> Register | None:
    """Return the register of a column that counts."""
    whole = part.columns[place] if part.columns else None
    return shown(whole, part.partial_columns[place]) if part.partial_columns else whole


def columns_of(part: Contribution) -> Columns:
    """Return the registers that count, one for each of NAMES."""
    whole, partial = part.columns, part.partial_columns
    if not partial:
        return whole or _NO_COLUMNS
    if not whole:
        return partial
    return [said if update is None else shown(said, update) for said, update in zip(whole, partial, strict=True)]


def column(part: Contribution, name: str) -> Register | None:
    """Return the register of one of NAMES."""
    return register_at(part, _PLACES[name])


def belongs_to(part: Contribution, conversation_id: str) -> bool:
    """Return whether the message exists, and is in that conversation now; one that has left no longer counts."""
    register = register_at(part, _CONVERSATION)
    return register is not None and register[2] == conversation_id and exists(part)


def direction_of(part: Contribution) -> str | None:
    """Return incoming, outgoing or internal, or any other value; None if there is none."""
    return text_of(register_at(part, _DIRECTION))


def organization_of(part: Contribution) -> str | None:
    """Return the organization that the message names."""
    return text_of(register_at(part, _ORGANIZATION))


def is_of(part: Contribution, owner: str | None) -> bool:
    """Return whether the message may be in a conversation of that organization (None: unknown)."""
    return owner is None or organization_of(part) in (None, owner)


def time_of(part: Contribution) -> int | None:
    """Return the message's time: timestamp, else created_at, else None."""
    time = moment_of(register_at(part, _TIMESTAMP))
    return moment_of(register_at(part, _CREATED)) if time is None else time


def status_of(part: Contribution) -> Registers:
    """Return the registers of the status that count."""
    return registers.all_shown(part.status, part.partial_status)


def moments_of(part: Contribution) -> statuses.Moments:
    """Return the status keys that are present, with their instants."""
    return statuses.moments_of(status_of(part))


def delivery_status_of(part: Contribution) -> str | None:
    """Return the message's delivery_status."""
    return statuses.delivery_status(key for key, register in status_of(part).items() if register[2] is not None)


def summary_of(part: Contribution) -> Sequence[str | None]:
    """Return type, kind and preview of the content."""
    register = register_at(part, CONTENT)
    return (None, None, None) if register is None else register[2]


def borrowed_of(part: Contribution) -> dict[str, str | None]:
    """Return what a conversation takes from its newest message while its own row is unknown."""
    return {name: text_of(register_at(part, place)) for place, name in enumerate(BORROWED)}


def is_scheduled(direction: Any, delivery_status: str | None, timestamp: Any, written_at: Any) -> bool:
    """Return whether the message is not sent yet: its time is later than its row."""
    return (
        direction == "outgoing"
        and delivery_status in (None, "pending")
        and timestamp is not None
        and written_at is not None
        and timestamp > written_at
    )


class Role(NamedTuple):
    """A message's role in its conversation.

    `shown`: it may be the conversation's last message. `said`: it counts as spoken. `active_at`: when that was, but at
    most a day after it was received; None if it is not said or has no time.
    """

    position: tuple[int, str]
    direction: str | None
    delivery_status: str | None
    shown: bool
    said: bool
    scheduled: bool
    unread: bool
    active_at: int | None


def role_of(message_id: str, part: Contribution) -> Role:
    """Return a message's role in its conversation."""
    columns = columns_of(part)
    direction = text_of(columns[_DIRECTION])
    present = [key for key, register in status_of(part).items() if register[2] is not None]
    delivered = statuses.delivery_status(present)
    timestamp, created_at = moment_of(columns[_TIMESTAMP]), moment_of(columns[_CREATED])
    updated_at = moment_of(columns[_UPDATED])
    time = created_at if timestamp is None else timestamp
    scheduled = is_scheduled(direction, delivered, timestamp, created_at if updated_at is None else updated_at)
    content = columns[CONTENT]
    is_reaction = content is not None and content[2][1] == REACTION
    spoken = direction in ("incoming", "outgoing") and not scheduled and not is_reaction
    said = spoken and not (direction == "outgoing" and delivered == "failed")
    return Role(
        (NEVER if time is None else time, message_id),
        direction,
        delivered,
        spoken,
        said,
        scheduled,
        direction == "incoming" and "read" not in present,
        capped(time, part.received_at) if said else None,
    )


def capped(at: int | None, received_at: int | None) -> int | None:
    """Return an instant of a row, but at most a day after the row was received."""
    return at if at is None or received_at is None else min(at, received_at + DAY_US)


class _Content(Struct):
    type: Any = None
    kind: Any = None
    text: Any = None


_decode_content = json.Decoder(_Content).decode


def summarize(content: str) -> ContentSummary:
    """Return type, kind and preview of a content (JSON text), None for each that is not text.

    `content.text` is a string in running systems and an object with a `body` in the documentation.
    """
    try:
        found = _decode_content(content)
    except (DecodeError, RecursionError):
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


def summary_order(summary: Sequence[str | None]) -> tuple[tuple[bool, str], ...]:
    """Return a total order over summaries."""
    return tuple((text is not None, text or "") for text in summary)


def sort_key(message_id: str, part: Contribution) -> tuple[int, str]:
    """Return the order of messages in a conversation: by time, then id; those without a time come first."""
    time = time_of(part)
    return (NEVER if time is None else time, message_id)
