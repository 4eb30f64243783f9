"""The five documented events, and what they must lead to. Imports nothing of the project."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_FILES = sorted((Path(__file__).parents[2] / "examples" / "payloads").glob("*.json"))
_IDS = {
    "incoming": "a4a8f56f-4570-47e2-bc2a-2f0d7db288b1",
    "outgoing": "b5b9f67g-5681-58f3-cd3b-3g1e8ec399c2",
    "conversation": "c9e2f1a3-8b7d-4e5f-a123-456789abcdef",
}


@dataclass
class DocumentedEvents:
    """The events with ids that nobody else has, so that many tests can share the topics of one stack."""

    suffix: str = field(default_factory=lambda: f"-{secrets.token_hex(4)}")

    @property
    def incoming(self) -> str:
        return _IDS["incoming"] + self.suffix

    @property
    def outgoing(self) -> str:
        return _IDS["outgoing"] + self.suffix

    @property
    def conversation(self) -> str:
        return _IDS["conversation"] + self.suffix

    @property
    def bodies(self) -> list[bytes]:
        """Return the five, in the order of the documentation."""
        return [self._own(file.read_text("utf-8")).encode() for file in _FILES]

    def _own(self, text: str) -> str:
        for original in _IDS.values():
            text = text.replace(original, original + self.suffix)
        return text

    @property
    def status_changes(self) -> set[tuple[str, str]]:
        """Return message id and status of each change."""
        outgoing = {(self.outgoing, status) for status in ("pending", "sent", "delivered", "read")}
        return {(self.incoming, "pending"), *outgoing}

    def contradictions(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a conversation's state that are not what the five events add up to."""
        expected = {
            "id": self.conversation,
            "organization_id": "00438702-d4a3-4411-9141-21febf13acbb",
            "service": "whatsapp",
            "organization_address": "375446602312881",
            "contact_address": "5215588392274",
            "status": "closed",
            "known": True,
            "message_count": 2,
            "incoming_count": 1,
            "outgoing_count": 1,
            "internal_count": 0,
            "status_counts": {"read": 1},
            "unread_count": 1,
            "awaiting_reply": False,
            "first_response_seconds": 2.0,
        }
        last = {
            "message_id": self.outgoing,
            "direction": "outgoing",
            "type": "text",
            "preview": "Hi! How can I help you today?",
            "delivery_status": "read",
        }
        actual_last = state["last_message"] or {}
        return {name: state[name] for name, value in expected.items() if state[name] != value} | {
            f"last_message.{name}": actual_last.get(name)
            for name, value in last.items()
            if actual_last.get(name) != value
        }
