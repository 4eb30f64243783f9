"""The expected results of the five payloads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openbsp.demo.payloads import CONVERSATION_ID, INCOMING_ID, OUTGOING_ID
from openbsp.demo.records import Record
from openbsp.send import Answer

_CONVERSATION = {
    "status": "closed",
    "known": True,
    "message_count": 2,
    "incoming_count": 1,
    "outgoing_count": 1,
    "internal_count": 0,
    "status_counts": {"read": 1},
    "unread_count": 1,
    "first_response_seconds": 2.0,
    "awaiting_reply": False,
}
_LAST_MESSAGE = {
    "message_id": OUTGOING_ID,
    "direction": "outgoing",
    "preview": "Hi! How can I help you today?",
    "delivery_status": "read",
}
_STATUS_CHANGES = {
    (INCOMING_ID, "pending"),
    (OUTGOING_ID, "pending"),
    (OUTGOING_ID, "sent"),
    (OUTGOING_ID, "delivered"),
    (OUTGOING_ID, "read"),
}


@dataclass(frozen=True, slots=True)
class Found:
    """The results: the bridge's answers, the records by topic, and the view of the conversation once it has one."""

    answers: Sequence[Answer]
    records: Mapping[str, Sequence[Record]]
    view: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Check:
    """An expectation in words, and its contradictions: none, if it holds."""

    text: str
    faults: Sequence[str]


def checks(found: Found) -> list[Check]:
    """Compare what was found with what is expected."""
    messages = _newest(found.records["message-state"])
    conversations = _newest(found.records["conversation-state"])
    changes = [record.value for record in found.records["status-changes"] if record.value is not None]
    return [
        accepted("all five payloads were accepted", found.answers),
        Check("messages has three events", compare(len(found.records["messages"]), 3)),
        Check("conversations has two events", compare(len(found.records["conversations"]), 2)),
        Check("dead-letters is empty", compare(len(found.records["dead-letters"]), 0)),
        Check("message-state has two messages", compare(set(messages), {INCOMING_ID, OUTGOING_ID})),
        Check("conversation-state has one conversation", compare(set(conversations), {CONVERSATION_ID})),
        Check(
            "conversation-state: closed, two messages, the reply came after two seconds and was read",
            _conversation_faults(conversations.get(CONVERSATION_ID)),
        ),
        Check(
            "status-changes: pending of both messages; sent, delivered and read of the reply",
            compare({(change["message_id"], change["status"]) for change in changes}, _STATUS_CHANGES),
        ),
        Check(
            "each status change has its conversation",
            compare({change["conversation_id"] for change in changes}, {CONVERSATION_ID}),
        ),
        Check("the view shows the same conversation", _conversation_faults(found.view)),
    ]


def _conversation_faults(state: Mapping[str, Any] | None) -> list[str]:
    if state is None:
        return ["there is none"]
    last = state.get("last_message") or {}
    return [
        f"{name} is {given.get(name)!r}, not {value!r}"
        for given, expected in ((state, _CONVERSATION), (last, _LAST_MESSAGE))
        for name, value in expected.items()
        if name not in given or given[name] != value
    ]


def accepted(text: str, answers: Sequence[Answer]) -> Check:
    """Expect that the bridge has accepted all payloads."""
    return Check(
        text, [f"{answer.payload}: {answer.status or answer.text}" for answer in answers if not answer.accepted]
    )


def compare(actual: object, expected: object) -> list[str]:
    """Return the differences between two values."""
    return [] if actual == expected else [f"{actual!r}, not {expected!r}"]


def _newest(records: Sequence[Record]) -> dict[str | None, Mapping[str, Any]]:
    """Return the value of each key's last record that is no tombstone; all records of a key are in one partition."""
    newest = {record.key: record.value for record in sorted(records, key=lambda record: record.offset)}
    return {key: value for key, value in newest.items() if value is not None}
