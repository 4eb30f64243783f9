"""Messages: the facts that are stored of one, and the MessageState derived from them."""

from collections.abc import Collection
from functools import reduce
from typing import Any

from msgspec import Struct, msgpack, structs

from avro.columns import ENTITIES, Kind
from openbsp.merge import claims, deletion, registers
from openbsp.merge.registers import (
    UNFIT,
    Register,
    Registers,
    Version,
    fields_of,
    later,
    moment_of,
    newer,
    shown_at,
    stamp_of,
    text_of,
)
from streams.state import contribution as contributions
from streams.state import existence, former
from streams.state import status as statuses
from streams.state.contribution import ContentSummary, Contribution, summarize, summary_order

_NAMES = tuple(name for name, kind in ENTITIES["messages"].columns.items() if kind is not Kind.STATUS and name != "id")

#: The column with the message's organization. Only the message's own delete removes it.
_OWNER = "organization_id"

#: At most so many conversations may be named for a message by any writer: each of them follows the message.
CONVERSATIONS_LIMIT = 64

#: The number with which stored facts begin; those of former versions are read by `streams.state.former`.
FORMAT = 3
#: Same members, without claims.
_UNCLAIMED = 2


class MessageFacts(Struct, array_like=True, frozen=True, gc=False):
    """All facts about a message. Joins keep everything that a later event could need.

    `columns` and `status` hold the values of whole rows, `partial_columns` and `partial_status` those of rows with
    changed columns only, `newest` and `newest_partial` the newest version of each. `conversations` are all in which the
    message ever was: those that it left need updates, and rows up to a deleted conversation do not count. `announced`
    are the status keys that give status changes. `received_at` is when the latest event was received, `rivals` are
    other messages with one of its `external_ids`, by organization. `claims` hold the values of writers that are bound
    to organizations. `created_at` is the latest in any row. `entered`, of claims only, is when the first row that names
    a conversation was received.
    """

    format: int = FORMAT
    columns: Registers = {}
    status: Registers = {}
    partial_columns: Registers = {}
    partial_status: Registers = {}
    newest: Version | None = None
    newest_partial: int | None = None
    conversations: dict[str, existence.Stay] = {}
    organizations: list[str] = []
    external_ids: list[str] = []
    announced: list[str] = []
    received_at: int | None = None
    deletes: list[str | None] = []
    rivals: dict[str, existence.StoredRivals] = {}
    claims: "dict[str, tuple[int | None, MessageFacts]]" = {}
    created_at: int | None = None
    entered: dict[str, int] = {}


encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(MessageFacts).decode


def decode(stored: bytes) -> MessageFacts:
    """Return stored facts."""
    version = registers.format_of(stored)
    if version == FORMAT:
        return _decode(stored)
    # Its writer was not stored, so it counts as trusted: no claim can change it.
    return MessageFacts(**(former.unclaimed_message(stored) if version == _UNCLAIMED else former.message(stored)))


def predates_holders(stored: bytes) -> bool:
    """Return whether holders of its external ids may not know of the message: version 1 had none."""
    return registers.format_of(stored) not in {_UNCLAIMED, FORMAT}


def facts_of(event: dict[str, Any], organizations: Collection[str] | None = None) -> MessageFacts:
    """Return the facts in one MessageEvent of a writer for some organizations only (None: all)."""
    told = _told(event)
    if organizations is None:
        return told
    told = structs.replace(told, entered=dict.fromkeys(told.conversations, event["received_at"]))
    return MessageFacts(claims=claims.claimed(event, told, organizations))


def _told(event: dict[str, Any]) -> MessageFacts:
    received_at = event["received_at"]
    organization = event["organization_id"]
    if event["action"] == "delete":
        return MessageFacts(deletes=[organization])
    status = event["status"] is not None
    partial = is_partial(event)
    version = (0 if partial or not status else statuses.count_of(event), stamp_of(event))
    columns = registers.columns_of(event, _NAMES, version)
    members = statuses.registers_of(event, version) if status else {}
    conversation, external_id = event["conversation_id"], event["external_id"]
    if conversation is None and "conversation_id" in columns:
        # Trap: if null or a wrong type could replace an id, status changes would depend on the order of arrival. Once
        # it has a conversation it always has one.
        columns["conversation_id"] = (*UNFIT, columns["conversation_id"][2])
    return MessageFacts(
        columns={} if partial else columns,
        status={} if partial else members,
        partial_columns=columns if partial else {},
        partial_status=members if partial else {},
        newest=None if partial else version,
        newest_partial=version[1] if partial else None,
        conversations={} if conversation is None else {conversation: (*version, [])},
        organizations=[] if organization is None else [organization],
        external_ids=[] if external_id is None else [external_id],
        announced=statuses.announced(members),
        received_at=received_at,
        created_at=event["created_at"],
    )


def is_partial(event: dict[str, Any]) -> bool:
    """Return whether the row holds changed columns only: an update that does not name its conversation."""
    return (
        event["action"] == "update"
        and event["conversation_id"] is None
        and "conversation_id" not in event["nulls"]
        and "conversation_id" not in event["extra"]
    )


def join(a: MessageFacts, b: MessageFacts) -> MessageFacts:
    """Merge two facts. Idempotent, commutative, associative."""
    return claims.join_facts(a, b, _join_unclaimed, _stripped)


def effective(facts: MessageFacts) -> MessageFacts:
    """Return the facts that count: no claims are left."""
    if not facts.claims:
        return facts
    return as_told_by(facts, claims.owner(_named(facts), facts.claims))


def as_told_by(facts: MessageFacts, organization: str | None) -> MessageFacts:
    """Return the facts that would count if the message were an organization's."""
    if not facts.claims:
        return facts
    return reduce(_join_unclaimed, claims.of(facts.claims, organization), structs.replace(facts, claims={}))


def without_others(facts: MessageFacts) -> MessageFacts:
    """Return the facts without claims for others than the owner."""
    kept = claims.owned(facts.claims, claims.owner(_named(facts), facts.claims))
    return structs.replace(facts, claims=kept)


def _named(facts: MessageFacts) -> str | None:
    """Return the organization that trusted writers name."""
    return text_of(shown_at(_OWNER, facts.columns, facts.partial_columns))


def _join_unclaimed(a: MessageFacts, b: MessageFacts) -> MessageFacts:
    names, limit = deletion.join_names, deletion.NAMES_LIMIT
    stays = existence.join_stays(a.conversations, b.conversations)
    joined = MessageFacts(
        columns=_join_columns(a.columns, b.columns),
        status=registers.join(a.status, b.status),
        partial_columns=_join_columns(a.partial_columns, b.partial_columns),
        partial_status=registers.join(a.partial_status, b.partial_status),
        newest=later(a.newest, b.newest),
        newest_partial=later(a.newest_partial, b.newest_partial),
        conversations=stays,
        organizations=names(a.organizations, b.organizations, limit),
        external_ids=names(a.external_ids, b.external_ids, limit),
        announced=names(a.announced, b.announced),
        received_at=later(a.received_at, b.received_at),
        deletes=deletion.join_deletes(a.deletes, b.deletes),
        rivals=existence.join_rivals(a.rivals, b.rivals),
        created_at=later(a.created_at, b.created_at),
        entered=registers.join_each(a.entered, b.entered, min),
    )
    if deletion.is_certain(joined.deletes, joined.organizations):
        return _stripped(joined)
    cut = existence.cut_of(stays, joined.organizations)
    return joined if cut is None else _cut(joined, cut)


def _cut(facts: MessageFacts, cut: Version) -> MessageFacts:
    """Return what is left of a message after the deletion of a conversation that it was in."""
    # Trap: if the organization went as well, the message would belong to any other that claims it, and have no rivals.
    return structs.replace(
        facts,
        columns=registers.cut(facts.columns, cut, _OWNER),
        status=registers.cut_status(facts.status, cut),
        partial_columns={_OWNER: facts.partial_columns[_OWNER]} if _OWNER in facts.partial_columns else {},
        partial_status=dict.fromkeys(facts.partial_status, (*UNFIT, None)),
    )


def _stripped(facts: MessageFacts) -> MessageFacts:
    """Return what must be remembered of a deleted message: ids, and its age. No content."""
    return MessageFacts(
        status=contributions.names_only(facts.status),
        partial_status=contributions.names_only(facts.partial_status),
        newest=facts.newest,
        newest_partial=facts.newest_partial,
        conversations=facts.conversations,
        organizations=facts.organizations,
        external_ids=facts.external_ids,
        deletes=facts.deletes,
        rivals=facts.rivals,
        created_at=facts.created_at,
    )


def _join_columns(a: Registers, b: Registers) -> Registers:
    columns = registers.join(a, b)
    known, said = a.get("content"), b.get("content")
    if known is not None and said is not None and known[:2] == said[:2] and known != said:
        return {**columns, "content": _newer_content(known, said)}
    return columns


def _newer_content(a: Register, b: Register) -> Register:
    # Trap: a conversation has only the summary of a content, so the summary must decide a tie before the content does,
    # or message and conversation would choose differently.
    order_a, order_b = summary_order(_summary_of(a)), summary_order(_summary_of(b))
    if order_a != order_b:
        return a if order_a > order_b else b
    return newer(a, b)


def _summary_of(register: Register) -> ContentSummary:
    return summarize(register[2]) if type(register[2]) is str else (None, None, None)


def contribution(facts: MessageFacts, conversation: str | None = None) -> Contribution:
    """Return what the message adds to a conversation; a projection, so it commutes with `join`.

    Without claims, or without the conversation, it is the same for all.
    """
    gone = {name for name, stay in facts.conversations.items() if stay[2]}
    part = _contribution(facts, gone, None)
    if not facts.claims:
        return part
    told = {key: (at, _contribution(claimed, gone, conversation)) for key, (at, claimed) in facts.claims.items()}
    return structs.replace(part, claims=told)


def _contribution(facts: MessageFacts, gone: set[str], conversation: str | None) -> Contribution:
    return contributions.of(
        _parts_of(facts.columns),
        _parts_of(facts.partial_columns),
        facts.status,
        facts.partial_status,
        newest=facts.newest,
        newest_partial=facts.newest_partial,
        announced=facts.announced,
        organizations=facts.organizations,
        received_at=facts.received_at,
        deletes=facts.deletes,
        rivals=facts.rivals,
        created_at=facts.created_at,
        entered=None if conversation is None else facts.entered.get(conversation),
        stays={name: stay for name, stay in facts.conversations.items() if name in gone} if gone else {},
    )


def _parts_of(columns: Registers) -> contributions.Columns:
    """Return what a conversation needs of each column: of an instant not its exact text, of a content its summary."""
    if not columns:
        return []
    parts: contributions.Columns = [
        part if part is None or type(part[2]) is not list else (part[0], part[1], part[2][0])
        for part in map(columns.get, contributions.NAMES)
    ]
    content = columns.get("content")
    if content is not None:
        parts[contributions.CONTENT] = (content[0], content[1], list(_summary_of(content)))
    return parts


def holder(facts: MessageFacts) -> existence.Holder:
    """Return the message as a holder of its external ids."""
    age = contributions.age_of(facts.status, facts.partial_status, facts.newest, facts.newest_partial)
    # A former version stored it in its column alone.
    created_at = later(facts.created_at, moment_of(shown_at("created_at", facts.columns, facts.partial_columns)))
    return existence.holder(age, created_at, facts.deletes, facts.conversations, facts.organizations)


def exists(facts: MessageFacts) -> bool:
    """Return whether the message with these effective facts exists.

    A row has arrived, neither it nor its conversation is deleted, and no newer message has its external id.
    """
    if facts.newest is None and facts.newest_partial is None:
        return False
    if facts.deletes and deletion.is_deleted(facts.deletes, facts.organizations):
        return False
    if facts.rivals and existence.is_superseded(holder(facts), facts.rivals.get(_named(facts) or "")):
        return False
    return not contributions.is_gone_with(facts.conversations, facts.organizations, conversation_of(facts))


def newly_announced(known: MessageFacts | None, merged: MessageFacts) -> set[str]:
    """Return the status keys that the conversation has to publish, after `known` facts have become `merged`.

    All of them with the first conversation, when a superseded message exists again, and when another organization turns
    out to be its owner; a failure also when its errors arrive later. Both are effective facts.
    """
    if known is not None and _named(known) != _named(merged):
        known = None
    if known is None or conversation_of(known) is None or not exists(known):
        return set(merged.announced)
    new = set(merged.announced).difference(known.announced) if merged.announced != known.announced else set()
    failures = statuses.FAILURES.intersection(merged.announced)
    if failures and statuses.errors_of(_status_of(known)) != statuses.errors_of(_status_of(merged)):
        new |= failures
    return new


def _status_of(facts: MessageFacts) -> Registers:
    return registers.all_shown(facts.status, facts.partial_status)


def is_to_tell_holders(known: MessageFacts | None, merged: MessageFacts) -> bool:
    """Return whether the message has to report itself to holders of one of its external ids.

    With the first row that names one, and always if deleted. Later only if there are others: a message without rivals
    is not compared.
    """
    if known is None or merged.rivals:
        return True
    if (
        not merged.claims
        and not merged.deletes
        and known.organizations == merged.organizations
        and known.external_ids == merged.external_ids
        and known.created_at == merged.created_at
        and not any(stay[2] for stay in merged.conversations.values())
    ):
        return False
    was, found = holdings(known), holdings(merged)
    return any(
        key not in was or (told != was[key] if told.deleted else told.created_at != was[key].created_at)
        for key, told in found.items()
    )


def with_verdict(
    facts: MessageFacts,
    deletes: list[str | None],
    rivals: existence.StoredRivals | None,
    *,
    organization: str | None = None,
    conversation: str | None = None,
) -> MessageFacts:
    """Merge a verdict into the facts: the deletes of a conversation, rivals.

    The latter are those of an organization (None: unknown), and no rivals by another one's claims.
    """
    stays: dict[str, existence.Stay] = {} if conversation is None else {conversation: (*UNFIT, deletes)}
    known = {*facts.organizations, *facts.claims}
    whose = known if organization is None else known & {organization}
    told = MessageFacts(
        conversations=stays,
        deletes=deletes if conversation is None else [],
        rivals={} if rivals is None else dict.fromkeys(whose, rivals),
        claims={
            key: (None, MessageFacts(conversations=stays))
            for key, (_, claimed) in facts.claims.items()
            if conversation in claimed.conversations
        },
    )
    return join(facts, told)


def holdings(facts: MessageFacts) -> dict[tuple[str, str], existence.Holder]:
    """Return `(organization, external id)` of all that the message has ever had: each belongs to one message only.

    With the message as a holder in that organization. Claims count as well, and only along with that one's own data.
    """
    found: dict[tuple[str, str], existence.Holder] = {}
    claimed = (name for _, told in facts.claims.values() for name in told.organizations)
    for name in dict.fromkeys((*facts.organizations, *claimed)):
        told = as_told_by(facts, name)
        if told.external_ids:
            found |= dict.fromkeys([(name, external) for external in told.external_ids], holder(told))
    return found


def members(facts: MessageFacts) -> int:
    """Return the number of columns and status keys of facts, one for each writer: each of them costs time."""
    own = len(facts.columns) + len(facts.status) + len(facts.partial_columns) + len(facts.partial_status)
    return own + sum(members(told) for _, told in facts.claims.values())


def conversations_of(facts: MessageFacts) -> list[str]:
    """Return all conversations that any writer ever named for the message: they must follow it."""
    if not facts.claims:
        return sorted(facts.conversations)
    claimed = (name for _, told in facts.claims.values() for name in told.conversations)
    return sorted({*facts.conversations, *claimed})


def in_too_many(known: MessageFacts | None, new: MessageFacts) -> bool:
    """Return whether an event names one conversation too many for a message, among those of its writers."""
    return any(
        _exceeds(None if known is None else known.claims.get(key, (None, None))[1], told)
        for key, (_, told) in new.claims.items()
    ) or _exceeds(known, new)


def _exceeds(known: MessageFacts | None, new: MessageFacts) -> bool:
    if known is None or new.conversations.keys() <= known.conversations.keys():
        return False
    named = {name for name, stay in known.conversations.items() if stay[:2] != UNFIT}
    return len(named | new.conversations.keys()) > CONVERSATIONS_LIMIT


def conversation_of(facts: MessageFacts) -> str | None:
    """Return the message's current conversation, None while it is unknown."""
    return text_of(shown_at("conversation_id", facts.columns, facts.partial_columns))


def state(message_id: str, facts: MessageFacts) -> dict[str, Any]:
    """Return the fields of the MessageState of an existing message."""
    fields, extra, nulls = fields_of(registers.all_shown(facts.columns, facts.partial_columns))
    status = _status_of(facts)
    present = statuses.moments_of(status)
    moments, odd = {key: at for key, at in present.items() if at is not None}, _texts_of(status)
    errors = status.get(statuses.ERRORS)
    fields["id"] = message_id
    fields["extra"] = extra
    fields["nulls"] = nulls
    fields["status"] = moments
    if errors is not None and type(errors[2]) is list:
        fields["errors"] = errors[2]
    if odd:
        fields["status_extra"] = odd
    if moments or odd or "errors" in fields:
        # A row whose status is null or no object does not change a known status.
        extra.pop("status", None)
        if "status" in nulls:
            nulls.remove("status")
    fields["delivery_status"] = delivered = statuses.delivery_status(present)
    fields["scheduled"] = contributions.is_scheduled(
        fields.get("direction"),
        delivered,
        fields.get("timestamp"),
        fields.get("updated_at", fields.get("created_at")),
    )
    time = fields.get("timestamp", fields.get("created_at"))
    if time is not None:
        for name, field in (("sent", "sent_after_ms"), ("delivered", "delivered_after_ms"), ("read", "read_after_ms")):
            at = moments.get(name)
            if at is not None:
                fields[field] = (at - time) // 1000
    return fields


def _texts_of(status: Registers) -> dict[str, str]:
    """Return the JSON text of values that are not instants, or have more digits than one can hold."""
    texts: dict[str, str] = {}
    for key, (_, _, value) in status.items():
        if type(value) is bytes:
            texts[key] = value.decode()
        elif type(value) is list and key != statuses.ERRORS:
            texts[key] = value[1].decode()
    return texts
