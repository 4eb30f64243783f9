"""States as JSON: instants as RFC 3339 in UTC, JSON columns as the very values that were received.

Structs and raw JSON instead of dicts: a page of conversations is rendered in a third of the time.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from msgspec import Raw, Struct
from msgspec.json import Encoder

from streams.state import contribution as contributions
from streams.state import status as statuses
from streams.state.contribution import Contribution

Value = TypeVar("Value")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_encode = Encoder(decimal_format="number").encode


class LastMessage(Struct):
    """The newest incoming or outgoing message, as its conversation shows it."""

    message_id: str
    direction: str | None
    type: str | None
    kind: str | None
    preview: str | None
    timestamp: datetime | None
    delivery_status: str | None


class Contact(Struct):
    """The contact with a conversation's address."""

    id: str | None
    name: str | None
    address: str


class Conversation(Struct):
    """A ConversationState. Lists are ordered by `active_at`."""

    id: str
    organization_id: str | None
    service: str | None
    organization_address: str | None
    contact_address: str | None
    group_address: str | None
    name: str | None
    contact: Contact | None
    status: str | None
    created_at: datetime | None
    updated_at: datetime | None
    active_at: datetime | None
    known: bool
    message_count: int
    incoming_count: int
    outgoing_count: int
    internal_count: int
    status_counts: dict[str, int]
    unread_count: int
    last_message: LastMessage | None
    first_incoming_at: datetime | None
    last_incoming_at: datetime | None
    last_outgoing_at: datetime | None
    awaiting_reply: bool
    unanswered_count: int
    first_response_seconds: float | None
    reply_window_until: datetime | None
    archived: bool
    scheduled_count: int
    failed_count: int
    extra: dict[str, Raw]


class Message(Struct):
    """A MessageState. `status` holds instants and errors as OpenBSP has them."""

    id: str
    organization_id: str | None
    conversation_id: str | None
    external_id: str | None
    direction: str | None
    agent_id: str | None
    contact_address: str | None
    service: str | None
    organization_address: str | None
    group_address: str | None
    thread_id: str | None
    timestamp: datetime | None
    created_at: datetime | None
    updated_at: datetime | None
    content: Raw | None
    status: dict[str, Any]
    delivery_status: str | None
    scheduled: bool
    sent_after_ms: int | None
    delivered_after_ms: int | None
    read_after_ms: int | None
    extra: dict[str, Raw]


class ConversationMessage(Struct):
    """A conversation's data about one of its messages."""

    id: str
    direction: str | None
    type: str | None
    kind: str | None
    preview: str | None
    timestamp: datetime | None
    status: dict[str, datetime | None]
    delivery_status: str | None
    scheduled: bool


class ListedMessage(Struct):
    """A conversation's data about one of its messages, with the organization. `errors` says why it failed."""

    id: str
    conversation_id: str
    organization_id: str | None
    direction: str | None
    type: str | None
    kind: str | None
    preview: str | None
    timestamp: datetime | None
    status: dict[str, datetime | None]
    delivery_status: str | None
    scheduled: bool
    errors: list[Raw] | None


class Orphan(Struct):
    """A conversation whose row never arrived, although messages did. Its organization is that of its newest message."""

    id: str
    organization_id: str | None
    active_at: datetime | None


def conversation(fields: dict[str, Any]) -> bytes:
    """Return a ConversationState (`streams.state.conversation.state`) as JSON."""
    get = fields.get
    last, contact = fields["last_message"], fields["contact"]
    return _encode(
        Conversation(
            fields["id"],
            get("organization_id"),
            get("service"),
            get("organization_address"),
            get("contact_address"),
            get("group_address"),
            get("name"),
            None if contact is None else Contact(**contact),
            get("status"),
            _instant(get("created_at")),
            _instant(get("updated_at")),
            _instant(fields["active_at"]),
            fields["known"],
            fields["message_count"],
            fields["incoming_count"],
            fields["outgoing_count"],
            fields["internal_count"],
            _in_order(fields["status_counts"]),
            fields["unread_count"],
            None if last is None else _last_message(last),
            _instant(fields["first_incoming_at"]),
            _instant(fields["last_incoming_at"]),
            _instant(fields["last_outgoing_at"]),
            fields["awaiting_reply"],
            fields["unanswered_count"],
            fields["first_response_seconds"],
            _instant(fields["reply_window_until"]),
            fields["archived"],
            fields["scheduled_count"],
            fields["failed_count"],
            _raw(fields["extra"]),
        )
    )


def message(fields: dict[str, Any]) -> bytes:
    """Return a MessageState (`streams.state.message.state`) as JSON."""
    get = fields.get
    status: dict[str, Any] = dict(_moments(fields["status"]))
    status |= _raw(get("status_extra") or {})
    if get("errors") is not None:
        status["errors"] = [Raw(text.encode()) for text in fields["errors"]]
    return _encode(
        Message(
            fields["id"],
            get("organization_id"),
            get("conversation_id"),
            get("external_id"),
            get("direction"),
            get("agent_id"),
            get("contact_address"),
            get("service"),
            get("organization_address"),
            get("group_address"),
            get("thread_id"),
            _instant(get("timestamp")),
            _instant(get("created_at")),
            _instant(get("updated_at")),
            _value(get("content")),
            status,
            fields["delivery_status"],
            fields["scheduled"],
            get("sent_after_ms"),
            get("delivered_after_ms"),
            get("read_after_ms"),
            _raw(fields["extra"]),
        )
    )


def conversation_message(message_id: str, contribution: Contribution) -> bytes:
    """Return a conversation's data about one of its messages, as JSON."""
    content_type, kind, preview = contributions.summary_of(contribution)
    role = contributions.role_of(message_id, contribution)
    return _encode(
        ConversationMessage(
            message_id,
            role.direction,
            content_type,
            kind,
            preview,
            _instant(contributions.time_of(contribution)),
            _moments(contributions.moments_of(contribution)),
            role.delivery_status,
            role.scheduled,
        )
    )


def listed_message(message_id: str, conversation_id: str, contribution: Contribution) -> bytes:
    """Return a message as lists across conversations show it, as JSON."""
    content_type, kind, preview = contributions.summary_of(contribution)
    role = contributions.role_of(message_id, contribution)
    errors = statuses.errors_of(contributions.status_of(contribution))
    return _encode(
        ListedMessage(
            message_id,
            conversation_id,
            contributions.organization_of(contribution),
            role.direction,
            content_type,
            kind,
            preview,
            _instant(contributions.time_of(contribution)),
            _moments(contributions.moments_of(contribution)),
            role.delivery_status,
            role.scheduled,
            None if errors is None else [Raw(text.encode()) for text in errors],
        )
    )


def orphan(conversation_id: str, organization: str | None, active_at: int | None) -> bytes:
    """Return a conversation whose row never arrived, as JSON."""
    return _encode(Orphan(conversation_id, organization, _instant(active_at)))


def page(name: str, items: list[bytes], next_cursor: str | None) -> bytes:
    """Return `{name: [items], "next_cursor": ...}` of items that are JSON already."""
    return b'{"%s":[%s],"next_cursor":%s}' % (name.encode(), b",".join(items), _encode(next_cursor))


def _last_message(last: dict[str, Any]) -> LastMessage:
    return LastMessage(
        last["message_id"],
        last["direction"],
        last["type"],
        last["kind"],
        last["preview"],
        _instant(last["timestamp"]),
        last["delivery_status"],
    )


def _in_order(values: dict[str, Value]) -> dict[str, Value]:
    return dict(sorted(values.items())) if len(values) > 1 else values


def _value(text: str | None) -> Raw | None:
    return None if text is None else Raw(text.encode())


def _raw(texts: dict[str, str]) -> dict[str, Raw]:
    return {name: Raw(text.encode()) for name, text in _in_order(texts).items()} if texts else {}


def _moments(moments: statuses.Moments) -> dict[str, datetime | None]:
    in_order = sorted(moments.items(), key=lambda item: (item[1] or 0, item[0]))
    return {key: _instant(at) for key, at in in_order}


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else _EPOCH + timedelta(0, 0, micros)
