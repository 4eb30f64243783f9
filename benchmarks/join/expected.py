"""What must come out, told by the workload itself: no line of it is shared with the merges."""

from collections import Counter
from typing import Any

from avro.jsontext import encode_text
from join.workload import STATUSES, Conversation, Message


def message_state(conversation: Conversation, message: Message) -> dict[str, Any]:
    """Return the MessageState of a message after all events: the fields that are not null."""
    at = message.moments[0]
    after = zip(STATUSES[1:], message.moments[1:], strict=False)
    return {
        "id": message.id,
        "organization_id": conversation.organization,
        "conversation_id": conversation.id,
        "external_id": f"wamid.{message.id.replace('-', '').upper()}",
        "direction": message.direction,
        "contact_address": conversation.contact_address,
        "service": "whatsapp",
        "organization_address": conversation.organization_address,
        "content": encode_text({"version": "1", "type": "text", "kind": "text", "text": message.text}),
        "status": dict(zip(STATUSES, message.moments, strict=False)),
        "timestamp": at,
        "created_at": at,
        "updated_at": message.moments[-1],
        "extra": {},
        "nulls": ["agent_id"],
        "delivery_status": _delivery_status(message),
        **{f"{status}_after_ms": (moment - at) // 1000 for status, moment in after},
    }


def conversation_state(conversation: Conversation) -> dict[str, Any]:
    """Return the ConversationState of a conversation after all events: the fields that are not null."""
    counts = Counter(message.direction for message in conversation.messages)
    last = max(conversation.messages, key=_order)
    incoming = [message for message in conversation.messages if message.incoming]
    outgoing = [message for message in conversation.messages if not message.incoming]
    first = min(incoming, key=_order).moments[0]
    replies = [message.moments[0] for message in outgoing if message.moments[0] >= first]
    state = {
        "id": conversation.id,
        "organization_id": conversation.organization,
        "service": "whatsapp",
        "organization_address": conversation.organization_address,
        "contact_address": conversation.contact_address,
        **_of_row(conversation),
        "message_count": len(conversation.messages),
        "incoming_count": counts["incoming"],
        "outgoing_count": counts["outgoing"],
        "internal_count": 0,
        "status_counts": dict(Counter(map(_delivery_status, outgoing))),
        "unread_count": sum(_delivery_status(message) != "read" for message in incoming),
        "last_message": {
            "message_id": last.id,
            "direction": last.direction,
            "type": "text",
            "kind": "text",
            "preview": last.text[:280],
            "timestamp": last.moments[0],
            "delivery_status": _delivery_status(last),
        },
        "last_incoming_at": max(incoming, key=_order).moments[0],
        "awaiting_reply": last.incoming,
    }
    if outgoing:
        state["last_outgoing_at"] = max(outgoing, key=_order).moments[0]
        state["first_response_seconds"] = (min(replies) - first) / 1_000_000
    return state


def _of_row(conversation: Conversation) -> dict[str, Any]:
    if not conversation.has_row:
        return {"extra": {}, "nulls": [], "known": False}
    return {
        "name": conversation.name,
        "status": "open",
        "created_at": conversation.begin,
        "updated_at": conversation.begin,
        "extra": {"extra": '{"source":"benchmark"}'},
        "nulls": ["group_address"],
        "known": True,
    }


def _delivery_status(message: Message) -> str:
    return STATUSES[len(message.moments) - 1]


def _order(message: Message) -> tuple[int, str]:
    return (message.moments[0], message.id)
