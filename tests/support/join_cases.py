"""Stories that the join must get right, as webhooks' bodies; each with ids that no other story has."""

import json
import random
from collections.abc import Iterator
from typing import Any

from support.documented import DocumentedEvents

Envelope = dict[str, Any]

#: A moment, and how long after it things happen.
_DAY = "2026-05-06T"


def message(key: str, action: str = "update", **columns: Any) -> Envelope:
    """Return a webhook's body that says something of a message."""
    return {"entity": "messages", "action": action, "data": {"id": key, **columns}}


def conversation(key: str, action: str = "update", **columns: Any) -> Envelope:
    """Return a webhook's body that says something of a conversation."""
    return {"entity": "conversations", "action": action, "data": {"id": key, **columns}}


def contact(key: str, action: str = "update", **columns: Any) -> Envelope:
    """Return a webhook's body that says something of a contact."""
    return {"entity": "contacts", "action": action, "data": {"id": key, **columns}}


def address(text: str = "5215", action: str = "update", **columns: Any) -> Envelope:
    """Return a webhook's body that says something of an address; that of all conversations that are opened, unless."""
    row = {"organization_id": "org", "service": "whatsapp", "address": text, **columns}
    return {"entity": "contacts_addresses", "action": action, "data": row}


def at(second: int) -> str:
    """Return an instant of the stories' day."""
    return f"{_DAY}{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.000001+00:00"


def inserted(key: str, conversation_id: str, direction: str, second: int, **columns: Any) -> Envelope:
    """Return the insert of a message as a whole row."""
    return message(
        key,
        "insert",
        organization_id="org",
        conversation_id=conversation_id,
        direction=direction,
        service="whatsapp",
        contact_address="5215",
        content={"type": "text", "kind": "text", "text": f"{key} at {second}"},
        status={"pending": at(second)},
        timestamp=at(second),
        created_at=at(second),
        updated_at=at(second),
        **columns,
    )


def status_of(key: str, status: str, second: int) -> Envelope:
    """Return a delivery receipt as the documentation shows it: without the conversation's id."""
    return message(key, status={status: at(second)}, updated_at=at(second))


def opened(key: str, second: int, **columns: Any) -> Envelope:
    """Return the insert of a conversation as a whole row."""
    return conversation(
        key,
        "insert",
        organization_id="org",
        service="whatsapp",
        contact_address="5215",
        name=f"conversation {key}",
        status="open",
        created_at=at(second),
        updated_at=at(second),
        **columns,
    )


def documented(order: random.Random, suffix: str) -> list[Envelope]:
    """Return the documented events in some order, most of them twice."""
    events = [json.loads(body) for body in DocumentedEvents(suffix).bodies]
    told = events + order.sample(events, 3)
    order.shuffle(told)
    return told


def update_before_insert(suffix: str) -> list[Envelope]:
    """Return a message whose receipts come first, and whose conversation is known at last."""
    m, c = f"m{suffix}", f"c{suffix}"
    return [
        status_of(m, "read", 40),
        status_of(m, "sent", 20),
        inserted(m, c, "outgoing", 10),
        status_of(m, "delivered", 30),
        conversation(c, status="closed", updated_at=at(60)),
        opened(c, 5),
    ]


def moved(suffix: str) -> list[Envelope]:
    """Return a message that goes to another conversation, with a receipt before, with and after the move."""
    m, here, there = f"m{suffix}", f"here{suffix}", f"there{suffix}"
    return [
        opened(here, 1),
        inserted(f"n{suffix}", here, "incoming", 5),
        inserted(m, here, "outgoing", 10),
        status_of(m, "sent", 11),
        message(m, conversation_id=there, status={"delivered": at(12)}, updated_at=at(12)),
        status_of(m, "read", 13),
        opened(there, 14),
    ]


def exchanged(suffix: str) -> list[Envelope]:
    """Return a conversation with every kind of message, edited and with errors."""
    c = f"c{suffix}"
    return [
        inserted(f"i1{suffix}", c, "incoming", 10),
        inserted(f"x{suffix}", c, "internal", 12),
        inserted(f"o0{suffix}", c, "outgoing", 3),
        inserted(f"o1{suffix}", c, "outgoing", 30),
        inserted(f"o2{suffix}", c, "outgoing", 31),
        inserted(f"i2{suffix}", c, "incoming", 40),
        message(f"i1{suffix}", status={"read": at(50)}, updated_at=at(50)),
        message(f"o1{suffix}", status={"failed": at(51), "errors": [{"code": 131047}]}, updated_at=at(51)),
        message(f"o2{suffix}", content={"type": "text", "text": "edited"}, agent_id=None, updated_at=at(52)),
        message(f"i2{suffix}", wa_id={"deep": [10**30]}, updated_at=at(53)),
        opened(c, 2, extra={"tag": 1}),
    ]


def stories(seed: int, count: int) -> Iterator[list[Envelope]]:
    """Yield stories in orders that a seed chooses."""
    order = random.Random(seed)
    for number in range(count):
        yield documented(order, f"-d{number}")
        for story in (update_before_insert, moved, exchanged):
            events = story(f"-{story.__name__}-{number}\u00e9?&")
            if number:  # the first time as it is told
                events += order.sample(events, 2)
                order.shuffle(events)
            yield events
