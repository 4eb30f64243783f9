"""Messages: the facts that are kept of one, and the MessageState that follows from them."""

from typing import Any

from msgspec import Struct, msgpack

from avro.catalogue import ENTITIES, Kind
from streams.state import status as statuses
from streams.state.contribution import ContentSummary, Contribution, summarize, summary_order
from streams.state.registers import UNFIT, Register, newer, version_of

_TYPED = tuple(
    (name, kind) for name, kind in ENTITIES["messages"].columns.items() if kind is not Kind.STATUS and name != "id"
)
_NAMES = tuple(name for name, _ in _TYPED)


class MessageFacts(Struct, array_like=True, frozen=True, gc=False):
    """All that is remembered of a message. Joins lose nothing that a later event could need.

    `errors` and `status_extra` hold the members of status objects that are no instants; null says nothing.
    `conversations` are all that the message was ever said to belong to, sorted: those that it left must hear of it.
    """

    columns: dict[str, Register]
    status: statuses.Moments
    errors: tuple[int, list[str]] | None
    status_extra: dict[str, tuple[int, str]]
    conversations: list[str]


decode = msgpack.Decoder(MessageFacts).decode
encode = msgpack.Encoder().encode


def facts_of(event: dict[str, Any]) -> MessageFacts:
    """Return what one MessageEvent says."""
    version = version_of(event)
    columns: dict[str, Register] = {}
    for name in _NAMES:
        value = event[name]
        if value is not None:
            columns[name] = (version, value)
    for name, text in event["extra"].items():
        # The text of an instant that has a field stands beside it.
        columns.setdefault(name, (version, text.encode()))
    for name in event["nulls"]:
        columns[name] = (version, None)
    errors = event["errors"]
    conversation = event["conversation_id"]
    if conversation is None and "conversation_id" in columns:
        # Trap: if null or a wrong type could overrule an id, a message would have told its statuses or not,
        # depending on what came first. Once it has a conversation it always has one.
        columns["conversation_id"] = (UNFIT, columns["conversation_id"][1])
    return MessageFacts(
        columns,
        event["status"] or {},
        None if errors is None else (version, errors),
        {key: (version, text) for key, text in (event["status_extra"] or {}).items() if text != "null"},
        [] if conversation is None else [conversation],
    )


def join(a: MessageFacts, b: MessageFacts) -> MessageFacts:
    """Return what both say together. Idempotent, commutative, associative."""
    columns = dict(a.columns)
    for name, register in b.columns.items():
        known = columns.get(name)
        if known is None or register[0] > known[0]:
            columns[name] = register
        elif register[0] == known[0] and register[1] != known[1]:
            columns[name] = _newer_content(known, register) if name == "content" else newer(known, register)
    status_extra = a.status_extra
    if b.status_extra:
        status_extra = dict(status_extra)
        for key, entry in b.status_extra.items():
            status_extra[key] = max(status_extra.get(key, entry), entry)
    conversations = a.conversations
    if b.conversations and b.conversations != conversations:
        conversations = sorted({*conversations, *b.conversations})
    errors = max((told for told in (a.errors, b.errors) if told is not None), default=None)
    return MessageFacts(columns, statuses.join(a.status, b.status), errors, status_extra, conversations)


def _newer_content(a: Register, b: Register) -> Register:
    # Trap: a conversation knows only the summary of a content, so that must decide a tie before the content does,
    # or message and conversation would choose differently.
    order_a, order_b = summary_order(_summary_of(a)), summary_order(_summary_of(b))
    if order_a != order_b:
        return a if order_a > order_b else b
    return newer(a, b)


def _summary_of(register: Register) -> ContentSummary:
    return summarize(register[1]) if type(register[1]) is str else (None, None, None)


def contribution(facts: MessageFacts) -> Contribution:
    """Return what the message adds to its conversation; a projection, so it commutes with `join`."""
    get = facts.columns.get
    content = get("content")
    return Contribution(
        get("conversation_id"),
        get("organization_id"),
        get("direction"),
        get("timestamp"),
        get("created_at"),
        None if content is None else (content[0], _summary_of(content)),
        facts.status,
    )


def conversation_of(facts: MessageFacts) -> str | None:
    """Return the conversation that the message belongs to now, None while it is unknown."""
    register = facts.columns.get("conversation_id")
    return register[1] if register is not None and type(register[1]) is str else None


def state(message_id: str, facts: MessageFacts) -> dict[str, Any]:
    """Return the fields of the MessageState that follows from the facts."""
    fields: dict[str, Any] = {"id": message_id}
    extra: dict[str, str] = {}
    nulls: list[str] = []
    for name, (_, value) in facts.columns.items():
        if value is None:
            nulls.append(name)
        elif type(value) is bytes:
            extra[name] = value.decode()
        else:
            fields[name] = value
    nulls.sort()
    moments = facts.status
    fields["extra"] = extra
    fields["nulls"] = nulls
    fields["status"] = moments
    errors, odd = _oddities(facts) if facts.status_extra else (facts.errors, None)
    if errors is not None:
        fields["errors"] = errors[1]
    if odd:
        fields["status_extra"] = odd
    if "status" in facts.columns and (moments or errors or odd):
        # A row whose status is null or no object says nothing about a status that is known.
        extra.pop("status", None)
        fields["nulls"] = [name for name in nulls if name != "status"]
    fields["delivery_status"] = statuses.delivery_status(moments)
    time = fields.get("timestamp", fields.get("created_at"))
    if time is not None:
        for status, field in (
            ("sent", "sent_after_ms"),
            ("delivered", "delivered_after_ms"),
            ("read", "read_after_ms"),
        ):
            at = moments.get(status)
            if at is not None:
                fields[field] = (at - time) // 1000
    return fields


def _oddities(facts: MessageFacts) -> tuple[tuple[int, list[str]] | None, dict[str, str]]:
    """Return the errors and the other members that are no instants: a key that has an instant shows no oddity."""
    odd = {key: text for key, (_, text) in facts.status_extra.items() if key not in facts.status}
    errors = facts.errors
    if errors is not None and "errors" in odd:
        # Errors that are a list, and errors that are something else: the newer ones count.
        if facts.status_extra["errors"][0] > errors[0]:
            errors = None
        else:
            del odd["errors"]
    return errors, odd
