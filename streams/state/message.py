"""Messages: the facts that are kept of one, and the MessageState that follows from them."""

from collections.abc import Collection
from functools import reduce
from typing import Any

from msgspec import Struct, msgpack, structs

from avro.catalogue import ENTITIES, Kind
from streams.state import claims, existence, former, registers
from streams.state import contribution as contributions
from streams.state import status as statuses
from streams.state.contribution import ContentSummary, Contribution, summarize, summary_order
from streams.state.registers import (
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

_NAMES = tuple(name for name, kind in ENTITIES["messages"].columns.items() if kind is not Kind.STATUS and name != "id")

#: The column that says whose a message is. Nothing but its own delete takes that away.
_OWNER = "organization_id"

#: Of so many conversations any writer may say that a message is in them: each of them hears whatever becomes of it.
CONVERSATIONS_LIMIT = 64

#: The number with which stored facts begin; those of former versions are read by `streams.state.former`.
FORMAT = 3
#: Of the same members, without claims.
_UNCLAIMED = 2


class MessageFacts(Struct, array_like=True, frozen=True, gc=False):
    """All that is remembered of a message. Joins lose nothing that a later event could need.

    `columns` and `status` hold what whole rows say, `partial_columns` and `partial_status` what rows do that hold only
    what changed, `newest` and `newest_partial` the newest version of each. `conversations` are all that the message was
    ever said to be in: those that it left must hear of it, and what is deleted with one of them does not count.
    `announced` are the status keys that give status changes. `received_at` is when the latest event of it was received,
    `rivals` are other messages with one of its `external_ids`, by the organization whose that is. `claims` hold what
    writers told that may tell of some organizations only. `created_at` is the latest that any row says. `entered` is
    when the first row was received that names a conversation, of claims only.
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
    # Nobody noted who had told it, so it is taken to be trusted: no claim can change it.
    return MessageFacts(**(former.unclaimed_message(stored) if version == _UNCLAIMED else former.message(stored)))


def predates_holders(stored: bytes) -> bool:
    """Return whether holders of its external ids may not have been told of the message: version 1 had none."""
    return registers.format_of(stored) not in {_UNCLAIMED, FORMAT}


def facts_of(event: dict[str, Any], organizations: Collection[str] | None = None) -> MessageFacts:
    """Return what one MessageEvent says, told by a writer for some organizations only (None: for all)."""
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
        # Trap: if null or a wrong type could overrule an id, a message would have told its statuses or not,
        # depending on what came first. Once it has a conversation it always has one.
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
    """Return whether the row holds only what changed: an update that does not name its conversation."""
    return (
        event["action"] == "update"
        and event["conversation_id"] is None
        and "conversation_id" not in event["nulls"]
        and "conversation_id" not in event["extra"]
    )


def join(a: MessageFacts, b: MessageFacts) -> MessageFacts:
    """Return what both say together. Idempotent, commutative, associative."""
    return claims.join_facts(a, b, _join_unclaimed, _stripped)


def effective(facts: MessageFacts) -> MessageFacts:
    """Return what counts of all that was told: no claims are left."""
    if not facts.claims:
        return facts
    return as_told_by(facts, claims.owner(_named(facts), facts.claims))


def as_told_by(facts: MessageFacts, organization: str | None) -> MessageFacts:
    """Return what would count if the message were an organization's."""
    if not facts.claims:
        return facts
    return reduce(_join_unclaimed, claims.of(facts.claims, organization), structs.replace(facts, claims={}))


def without_others(facts: MessageFacts) -> MessageFacts:
    """Return the facts without what was claimed for others than the owner."""
    kept = claims.owned(facts.claims, claims.owner(_named(facts), facts.claims))
    return structs.replace(facts, claims=kept)


def _named(facts: MessageFacts) -> str | None:
    """Return the organization that trusted writers name."""
    return text_of(shown_at(_OWNER, facts.columns, facts.partial_columns))


def _join_unclaimed(a: MessageFacts, b: MessageFacts) -> MessageFacts:
    names, limit = existence.join_names, existence.NAMES_LIMIT
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
        deletes=existence.join_deletes(a.deletes, b.deletes),
        rivals=existence.join_rivals(a.rivals, b.rivals),
        created_at=later(a.created_at, b.created_at),
        entered=registers.join_each(a.entered, b.entered, min),
    )
    if existence.is_certain(joined.deletes, joined.organizations):
        return _stripped(joined)
    cut = existence.cut_of(stays, joined.organizations)
    return joined if cut is None else _cut(joined, cut)


def _cut(facts: MessageFacts, cut: Version) -> MessageFacts:
    """Return what is left of a message that was in a conversation which is deleted."""
    # Trap: if whose the message is went as well, it would belong to whoever else claims it, and have no rivals.
    return structs.replace(
        facts,
        columns=registers.cut(facts.columns, cut, _OWNER),
        status=registers.cut_status(facts.status, cut),
        partial_columns={_OWNER: facts.partial_columns[_OWNER]} if _OWNER in facts.partial_columns else {},
        partial_status=dict.fromkeys(facts.partial_status, (*UNFIT, None)),
    )


def _stripped(facts: MessageFacts) -> MessageFacts:
    """Return what must be remembered of a deleted message: ids, and how old it was. Nothing that it said."""
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
    if not b or a is b:
        return a
    if not a:
        return b
    columns = dict(a)
    for name, register in b.items():
        known = columns.get(name)
        if known is None:
            columns[name] = register
        elif known != register:
            same_age = name == "content" and known[:2] == register[:2]
            columns[name] = _newer_content(known, register) if same_age else newer(known, register)
    return columns


def _newer_content(a: Register, b: Register) -> Register:
    # Trap: a conversation knows only the summary of a content, so that must decide a tie before the content does,
    # or message and conversation would choose differently.
    order_a, order_b = summary_order(_summary_of(a)), summary_order(_summary_of(b))
    if order_a != order_b:
        return a if order_a > order_b else b
    return newer(a, b)


def _summary_of(register: Register) -> ContentSummary:
    return summarize(register[2]) if type(register[2]) is str else (None, None, None)


def contribution(facts: MessageFacts, conversation: str | None = None) -> Contribution:
    """Return what the message adds to a conversation; a projection, so it commutes with `join`.

    Without claims, or without the conversation, it says the same to all.
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
    """Return how the message is beside others with its external id."""
    age = contributions.age_of(facts.status, facts.partial_status, facts.newest, facts.newest_partial)
    # What a former version stored says it in its column alone.
    created_at = later(facts.created_at, moment_of(shown_at("created_at", facts.columns, facts.partial_columns)))
    return existence.holder(age, created_at, facts.deletes, facts.conversations, facts.organizations)


def exists(facts: MessageFacts) -> bool:
    """Return whether the message is that has these effective facts.

    A row has been seen, it is not deleted, nor is its conversation, and no newer message has its external id.
    """
    if facts.newest is None and facts.newest_partial is None:
        return False
    if facts.deletes and existence.is_deleted(facts.deletes, facts.organizations):
        return False
    if facts.rivals and existence.is_superseded(holder(facts), facts.rivals.get(_named(facts) or "")):
        return False
    return not contributions.is_gone_with(facts.conversations, facts.organizations, conversation_of(facts))


def newly_announced(known: MessageFacts | None, merged: MessageFacts) -> set[str]:
    """Return the status keys of which the conversation has to tell, after what was `known` has become `merged`.

    All of them with the first conversation, when a message is again that was taken to be superseded, and when another
    organization turns out to be its owner; a failure also when its errors are told later. Both are effective facts.
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
    """Return whether those with one of the message's external ids have to hear how it is.

    With the first row that names one, and of a deleted one always. Later only if there are others, as nobody compares
    a message that is alone.
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
    """Return the facts with what others know of the message: the deletes of a conversation, others like it.

    The latter are those of an organization (None: nobody noted which), and no rivals of what another one claims.
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
    """Return `(organization, external id)` of all that the message has ever had: each is one message's only.

    With how it is to that organization. What is claimed counts as well, and only beside what that one has.
    """
    found: dict[tuple[str, str], existence.Holder] = {}
    claimed = (name for _, told in facts.claims.values() for name in told.organizations)
    for name in dict.fromkeys((*facts.organizations, *claimed)):
        told = as_told_by(facts, name)
        if told.external_ids:
            found |= dict.fromkeys([(name, external) for external in told.external_ids], holder(told))
    return found


def members(facts: MessageFacts) -> int:
    """Return the number of columns and status keys of facts, as often as they were told: each of them costs time."""
    own = len(facts.columns) + len(facts.status) + len(facts.partial_columns) + len(facts.partial_status)
    return own + sum(members(told) for _, told in facts.claims.values())


def conversations_of(facts: MessageFacts) -> list[str]:
    """Return all conversations that anybody ever said that the message is in: they must hear what becomes of it."""
    if not facts.claims:
        return sorted(facts.conversations)
    claimed = (name for _, told in facts.claims.values() for name in told.conversations)
    return sorted({*facts.conversations, *claimed})


def in_too_many(known: MessageFacts | None, new: MessageFacts) -> bool:
    """Return whether an event says that a message is in one conversation too many, as its writers have told it."""
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
    """Return the conversation that the message belongs to now, None while it is unknown."""
    return text_of(shown_at("conversation_id", facts.columns, facts.partial_columns))


def state(message_id: str, facts: MessageFacts) -> dict[str, Any]:
    """Return the fields of the MessageState that follows from the facts of a message that exists."""
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
        # A row whose status is null or no object says nothing about a status that is known.
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
    """Return the JSON text of what is no instant, or more than one can hold."""
    texts: dict[str, str] = {}
    for key, (_, _, value) in status.items():
        if type(value) is bytes:
            texts[key] = value.decode()
        elif type(value) is list and key != statuses.ERRORS:
            texts[key] = value[1].decode()
    return texts
