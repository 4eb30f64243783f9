"""Messages: the facts that are kept of one, and the MessageState that follows from them."""

from typing import Any

from msgspec import Struct, msgpack

from avro.catalogue import ENTITIES, Kind
from streams.state import contribution as contributions
from streams.state import existence, former, registers
from streams.state import status as statuses
from streams.state.contribution import ContentSummary, Contribution, summarize, summary_order
from streams.state.registers import UNFIT, Register, Registers, Version, fields_of, newer, shown, stamp_of, text_of

_NAMES = tuple(name for name, kind in ENTITIES["messages"].columns.items() if kind is not Kind.STATUS and name != "id")

#: The number with which stored facts begin; those of former versions are read by `streams.state.former`.
FORMAT = 2


class MessageFacts(Struct, array_like=True, frozen=True, gc=False):
    """All that is remembered of a message. Joins lose nothing that a later event could need.

    `columns` and `status` hold what whole rows say, `partial_columns` and `partial_status` what rows do that hold only
    what changed, `newest` and `newest_partial` the newest version of each. `conversations` are all that the message was
    ever said to belong to, sorted: those that it left must hear of it. `announced` are the status keys that give status
    changes. `received_at` is when the latest event of it was received, `rival` the newest other message with one of
    its `external_ids`.
    """

    format: int = FORMAT
    columns: Registers = {}
    status: Registers = {}
    partial_columns: Registers = {}
    partial_status: Registers = {}
    newest: Version | None = None
    newest_partial: int | None = None
    conversations: list[str] = []
    organizations: list[str] = []
    external_ids: list[str] = []
    announced: list[str] = []
    received_at: int | None = None
    deletes: list[str | None] = []
    rival: existence.Rival | None = None


encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(MessageFacts).decode


def decode(stored: bytes) -> MessageFacts:
    """Return stored facts."""
    # Trap: the first member of an array of up to fifteen stands in the second byte.
    return _decode(stored) if is_current(stored) else MessageFacts(**former.message(stored))


def is_current(stored: bytes) -> bool:
    """Return whether this version stored the facts."""
    return stored[1] == FORMAT


def facts_of(event: dict[str, Any]) -> MessageFacts:
    """Return what one MessageEvent says."""
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
        conversations=[] if conversation is None else [conversation],
        organizations=[] if organization is None else [organization],
        external_ids=[] if external_id is None else [external_id],
        announced=statuses.announced(members),
        received_at=received_at,
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
    names, limit = existence.join_names, existence.NAMES_LIMIT
    joined = MessageFacts(
        columns=_join_columns(a.columns, b.columns),
        status=registers.join(a.status, b.status),
        partial_columns=_join_columns(a.partial_columns, b.partial_columns),
        partial_status=registers.join(a.partial_status, b.partial_status),
        newest=contributions.later(a.newest, b.newest),
        newest_partial=contributions.later(a.newest_partial, b.newest_partial),
        conversations=names(a.conversations, b.conversations),
        organizations=names(a.organizations, b.organizations, limit),
        external_ids=names(a.external_ids, b.external_ids, limit),
        announced=names(a.announced, b.announced),
        received_at=contributions.later(a.received_at, b.received_at),
        deletes=existence.join_deletes(a.deletes, b.deletes),
        rival=existence.join_rivals(a.rival, b.rival),
    )
    return _stripped(joined) if existence.is_certain(joined.deletes, joined.organizations) else joined


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
        rival=facts.rival,
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


def contribution(facts: MessageFacts) -> Contribution:
    """Return what the message adds to its conversation; a projection, so it commutes with `join`."""
    columns = {name: _part_of(name, facts.columns[name]) for name in contributions.NAMES if name in facts.columns}
    partial = {}
    if facts.partial_columns:
        some = facts.partial_columns
        partial = {name: _part_of(name, some[name]) for name in contributions.NAMES if name in some}
    return contributions.of(
        columns,
        partial,
        facts.status,
        facts.partial_status,
        newest=facts.newest,
        newest_partial=facts.newest_partial,
        announced=facts.announced,
        organizations=facts.organizations,
        received_at=facts.received_at,
        deletes=facts.deletes,
        rival=facts.rival,
    )


def _part_of(name: str, register: Register) -> Register:
    keys, stamp, value = register
    if name == "content":
        return keys, stamp, list(_summary_of(register))
    return (keys, stamp, value[0]) if type(value) is list else register


def age(facts: MessageFacts) -> existence.Age:
    """Return how old the message is, beside others with its external id."""
    return contributions.age_of(facts.status, facts.partial_status, facts.newest, facts.newest_partial)


def exists(facts: MessageFacts) -> bool:
    """Return whether the message is: a row has been seen, it is not deleted, and no newer one has its external id."""
    return (
        (facts.newest is not None or facts.newest_partial is not None)
        and not existence.is_deleted(facts.deletes, facts.organizations)
        and not existence.is_superseded(age(facts), facts.rival)
    )


def newly_announced(known: MessageFacts | None, merged: MessageFacts) -> set[str]:
    """Return the status keys of which the conversation has to tell, after what was `known` has become `merged`.

    All of them with the first conversation, and when a message is again that was taken to be superseded; a failure also
    when its errors are told later.
    """
    if known is None or conversation_of(known) is None or not exists(known):
        return set(merged.announced)
    new = set(merged.announced).difference(known.announced) if merged.announced != known.announced else set()
    failures = statuses.FAILURES.intersection(merged.announced)
    if failures and statuses.errors_of(_status_of(known)) != statuses.errors_of(_status_of(merged)):
        new |= failures
    return new


def _status_of(facts: MessageFacts) -> Registers:
    return registers.all_shown(facts.status, facts.partial_status)


def is_to_tell_age(known: MessageFacts | None, merged: MessageFacts) -> bool:
    """Return whether those with one of the message's external ids have to hear how old it is.

    With the first row that names one. Later only if there are others, as nobody compares a message that is alone.
    """
    return known is None or merged.rival is not None or holdings(known) != holdings(merged)


def with_verdict(facts: MessageFacts, deletes: list[str | None], rival: existence.Rival | None) -> MessageFacts:
    """Return the facts with what others know of the message: its conversation's deletes, a newer one like it."""
    return join(facts, MessageFacts(deletes=deletes, rival=rival))


def holdings(facts: MessageFacts) -> list[tuple[str, str]]:
    """Return `(organization, external id)` of all that the message has ever had: each is one message's only."""
    return [(name, external) for name in facts.organizations for external in facts.external_ids]


def conversation_of(facts: MessageFacts) -> str | None:
    """Return the conversation that the message belongs to now, None while it is unknown."""
    return text_of(shown(facts.columns.get("conversation_id"), facts.partial_columns.get("conversation_id")))


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
