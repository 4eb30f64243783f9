"""States as JSON: instants as ISO 8601 in UTC, JSON columns as the values that they hold."""

from typing import Any

from avro import instants
from avro.catalogue import ENTITIES, Kind
from avro.jsontext import decode
from streams.state import contribution as contributions
from streams.state import status as statuses
from streams.state.contribution import Contribution

_MESSAGE_TEXTS = ("delivery_status", "sent_after_ms", "delivered_after_ms", "read_after_ms")


def message(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a MessageState as JSON; `status` holds instants and errors as OpenBSP has them."""
    view = _columns("messages", fields)
    status: dict[str, Any] = _moments(fields["status"])
    if fields.get("errors") is not None:
        status["errors"] = [decode(text.encode()) for text in fields["errors"]]
    status |= {key: decode(text.encode()) for key, text in (fields.get("status_extra") or {}).items()}
    view["status"] = status
    return view | {name: fields.get(name) for name in _MESSAGE_TEXTS}


def conversation(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a ConversationState as JSON."""
    view = _columns("conversations", fields)
    last = fields["last_message"]
    if last is not None:
        last = last | {"timestamp": _instant(last["timestamp"])}
    counts = ("known", "message_count", "incoming_count", "outgoing_count", "internal_count")
    return (
        view
        | {name: fields[name] for name in counts}
        | {
            "status_counts": dict(sorted(fields["status_counts"].items())),
            "unread_count": fields["unread_count"],
            "last_message": last,
            "last_incoming_at": _instant(fields["last_incoming_at"]),
            "last_outgoing_at": _instant(fields["last_outgoing_at"]),
            "awaiting_reply": fields["awaiting_reply"],
            "first_response_seconds": fields["first_response_seconds"],
        }
    )


def conversation_message(message_id: str, contribution: Contribution) -> dict[str, Any]:
    """Return what a conversation knows of one of its messages, as JSON."""
    content_type, kind, preview = contribution.summary[1] if contribution.summary else (None, None, None)
    return {
        "id": message_id,
        "direction": contributions.text_of(contribution.direction),
        "type": content_type,
        "kind": kind,
        "preview": preview,
        "timestamp": _instant(contributions.time_of(contribution)),
        "status": _moments(contribution.status),
        "delivery_status": statuses.delivery_status(contribution.status),
    }


def _columns(entity: str, fields: dict[str, Any]) -> dict[str, Any]:
    view: dict[str, Any] = {"id": fields["id"]}
    for column, kind in ENTITIES[entity].columns.items():
        value = fields.get(column)
        if value is None or kind is Kind.STATUS:
            if kind is not Kind.STATUS:
                view.setdefault(column, None)
        elif kind is Kind.INSTANT:
            view[column] = instants.render(value)
        elif kind is Kind.JSON:
            view[column] = decode(value.encode())
        else:
            view[column] = value
    view["extra"] = {column: decode(text.encode()) for column, text in sorted(fields["extra"].items())}
    return view


def _moments(moments: dict[str, int]) -> dict[str, str]:
    return {key: instants.render(at) for key, at in sorted(moments.items(), key=lambda item: (item[1], item[0]))}


def _instant(micros: int | None) -> str | None:
    return None if micros is None else instants.render(micros)
