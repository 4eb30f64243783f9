"""Asks the views of several workers as a client would, and says what they have to answer."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import quote

import httpx

from support.join_outcome import Outcome
from support.wait import eventually

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Members that views have as the states do; instants are compared apart from their form.
MEMBERS = {
    "messages": [
        "id",
        "organization_id",
        "conversation_id",
        "external_id",
        "direction",
        "agent_id",
        "contact_address",
        "service",
        "timestamp",
        "created_at",
        "updated_at",
        "delivery_status",
        "scheduled",
        "sent_after_ms",
        "delivered_after_ms",
        "read_after_ms",
    ],
    "conversations": [
        "id",
        "organization_id",
        "service",
        "contact_address",
        "name",
        "status",
        "created_at",
        "updated_at",
        "known",
        "message_count",
        "incoming_count",
        "outgoing_count",
        "internal_count",
        "status_counts",
        "unread_count",
        "last_message",
        "first_incoming_at",
        "last_incoming_at",
        "last_outgoing_at",
        "awaiting_reply",
        "unanswered_count",
        "first_response_seconds",
        "reply_window_until",
        "archived",
        "scheduled_count",
        "failed_count",
        "active_at",
        "contact",
    ],
}


class Views:
    """The views of all workers: whoever owns a key answers for it."""

    def __init__(self, urls: Iterable[str], token: str) -> None:
        """Keep connections open."""
        self._clients = [
            httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=10, trust_env=False)
            for url in urls
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()

    def get(self, kind: str, key: str, *, within: float = 30.0) -> dict[str, Any] | None:
        """Return the view of a key (`messages` or `conversations`), None for 404."""
        path = f"/{kind}/{quote(key, safe='')}"

        def answer() -> httpx.Response | None:
            for client in self._clients:
                try:
                    response = client.get(path)
                except httpx.TransportError:
                    continue
                if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    return response
            return None

        response = eventually(answer, within=within)
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        assert response.status_code == httpx.codes.OK, response.text
        return response.json()

    def differences(self, expected: Outcome) -> list[str]:
        """Return a line for each key whose view is not what the reference model says."""
        lines = []
        for kind, members in MEMBERS.items():
            for key, state in getattr(expected, kind).items():
                view = self.get(kind, key)
                if view is None:
                    lines.append(f"view of {kind} {key!r}: not found")
                    continue
                wrong = {name: view[name] for name in members if comparable(view[name]) != state[name]}
                if wrong:
                    wanted = {name: state[name] for name in wrong}
                    lines.append(f"view of {kind} {key!r}: {wrong} instead of {wanted}")
        return lines


def comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: comparable(member) for name, member in value.items()}
    if isinstance(value, str) and value[4:5] == "-" and value.endswith("Z"):
        return (datetime.fromisoformat(value) - _EPOCH) // timedelta(microseconds=1)
    return value
