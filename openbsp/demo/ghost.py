"""The second act: a message that had two rows in OpenBSP for a moment; no webhook reports the deletion of one of them.

A receipt that overtakes the answer to the sending finds no message with its id. OpenBSP inserts a second row for it,
and deletes that when the first one gets the id. The webhooks report all of this but the deletion.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from openbsp.demo.checks import Check, accepted, compare
from openbsp.demo.records import Record
from openbsp.send import Answer, Payload

CONVERSATION_ID = "6b1f9c2e-3d47-4a58-8e10-5c7d2a9f4b63"
REAL_ID = "7e0d8a14-92c5-4f3b-a6d1-0b9e4c8f2a75"
GHOST_ID = "84c3f7b9-1e60-4d2a-9c58-3fa7d6e0b182"

_EXTERNAL_ID = "wamid.HBgLMTU1NTAxMjM0NTY3FQIAERgSMDE"
_ROW = {"organization_id": "b2c3d4e5-f6a7-8901-bcde-f23456789012", "service": "whatsapp"}
_MESSAGE = _ROW | {"conversation_id": CONVERSATION_ID, "direction": "outgoing"}
_CONTENT = {"version": "1", "type": "text", "kind": "text", "text": "Your order is on its way."}


def _payload(name: str, entity: str, action: str, row: dict[str, Any]) -> Payload:
    return Payload(name, json.dumps({"entity": entity, "action": action, "data": row}).encode())


def _at(second: float) -> str:
    return f"2026-05-06T09:00:{second:09.6f}+00:00"


#: The webhooks while there are two rows.
TWO_ROWS = (
    _payload(
        "conversation",
        "conversations",
        "insert",
        {**_ROW, "id": CONVERSATION_ID, "status": "active", "created_at": _at(0)},
    ),
    _payload(
        "message, not sent yet",
        "messages",
        "insert",
        {
            **_MESSAGE,
            "id": REAL_ID,
            "external_id": None,
            "content": _CONTENT,
            "status": {"pending": _at(1)},
            "timestamp": _at(1),
            "created_at": _at(1),
        },
    ),
    _payload(
        "its receipt, as a row of its own",
        "messages",
        "insert",
        {
            **_MESSAGE,
            "id": GHOST_ID,
            "external_id": _EXTERNAL_ID,
            "content": {},
            "status": {"sent": _at(2)},
            "timestamp": _at(2),
            "created_at": _at(2),
        },
    ),
)
#: The webhooks when there is one.
ONE_ROW = (
    _payload(
        "message, with the id of its receipt",
        "messages",
        "update",
        {
            **_MESSAGE,
            "id": REAL_ID,
            "external_id": _EXTERNAL_ID,
            "content": _CONTENT,
            "status": {"pending": _at(1), "accepted": _at(1.5), "sent": _at(2)},
            "timestamp": _at(1),
            "created_at": _at(1),
            "updated_at": _at(2.5),
        },
    ),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """The results at one moment: the bridge's answers, the views' status of both messages, the conversation."""

    answers: Sequence[Answer]
    real: int
    ghost: int
    view: dict[str, Any] | None


def before(seen: Seen) -> list[Check]:
    """Compare the results of two rows with the expectation."""
    return [
        accepted("all webhooks were accepted", seen.answers),
        Check("there are two messages", compare((seen.real, seen.ghost, _count(seen)), (200, 200, 2))),
    ]


def after(seen: Seen, states: Sequence[Record]) -> list[Check]:
    """Compare the results of one row with it; `states` are the records of message-state."""
    last = max((record for record in states if record.key == GHOST_ID), key=lambda record: record.offset, default=None)
    return [
        accepted("all webhooks were accepted", seen.answers),
        Check("there is one message, the ghost is gone", compare((seen.real, seen.ghost, _count(seen)), (200, 404, 1))),
        Check(
            "message-state has a tombstone for the ghost",
            [] if last is not None and last.value is None else ["there is none"],
        ),
    ]


def _count(seen: Seen) -> object:
    return None if seen.view is None else seen.view.get("message_count")
