"""Compares the results of the five payloads with what they must lead to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from openbsp.demo.payloads import Expected
from openbsp.demo.records import Record
from openbsp.send import Answer


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


def checks(found: Found, expected: Expected) -> list[Check]:
    """Compare what was found with what is expected."""
    messages = _newest(found.records["message-state"])
    conversations = _newest(found.records["conversation-state"])
    changes = [record.value for record in found.records["status-changes"] if record.value is not None]
    conversation_id = expected.conversation["id"]
    return [
        accepted("all five payloads were accepted", found.answers),
        Check("messages has three events", compare(len(found.records["messages"]), 3)),
        Check("conversations has two events", compare(len(found.records["conversations"]), 2)),
        Check("dead-letters is empty", compare(len(found.records["dead-letters"]), 0)),
        Check(
            "message-state has two messages", compare(set(messages), {message["id"] for message in expected.messages})
        ),
        Check("conversation-state has one conversation", compare(set(conversations), {conversation_id})),
        Check(
            "conversation-state: closed, two messages, the reply came after two seconds and was read",
            _conversation_faults(conversations.get(conversation_id), expected),
        ),
        Check(
            "status-changes: pending of both messages; sent, delivered and read of the reply",
            compare(_statuses(changes), _statuses(expected.status_changes)),
        ),
        Check(
            "each status change has its conversation",
            compare({change["conversation_id"] for change in changes}, {conversation_id}),
        ),
        Check("the view shows the same conversation", _conversation_faults(found.view, expected)),
    ]


def _statuses(changes: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    return {(change["message_id"], change["status"]) for change in changes}


def _conversation_faults(state: Mapping[str, Any] | None, expected: Expected) -> list[str]:
    if state is None:
        return ["there is none"]
    return [
        f"{name} is {state.get(name)!r}, not {value!r}"
        for name, value in expected.conversation.items()
        if name not in state or _plain(state[name]) != value
    ]


def _plain(value: Any) -> Any:
    """Return a value with texts for instants, as the views write them."""
    if isinstance(value, Mapping):
        return {name: _plain(member) for name, member in value.items()}
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


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
