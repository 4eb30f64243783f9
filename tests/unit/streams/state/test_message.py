"""What follows from a message's facts, case by case."""

from functools import reduce
from typing import Any

import pytest

from avro.jsontext import encode_text
from streams.state import contribution as contributions
from streams.state import message
from streams.state.message import MessageFacts
from streams.state.status import RANKS, delivery_status, previous_status, reached
from support.wire import event_of, message_state

SECOND = 1_000_000
T0 = 1_778_038_763 * SECOND  # 2026-05-06T03:39:23Z


def facts_of(*rows: dict[str, Any]) -> MessageFacts:
    """Return the facts of rows of one message, the same in both orders."""
    events = [event_of({"entity": "messages", "action": "update", "data": {"id": "m", **row}}) for row in rows]
    facts = reduce(message.join, map(message.facts_of, events))
    assert facts == reduce(message.join, map(message.facts_of, reversed(events)))
    return facts


def state_of(*rows: dict[str, Any]) -> dict[str, Any]:
    """Return the MessageState of rows of one message, as a consumer reads it."""
    return message_state(message.state("m", facts_of(*rows)))


OLD, NEW = "2026-05-06T03:39:23+00:00", "2026-05-06T05:39:24+02:00"


def test_the_later_updated_at_wins_a_column_and_an_absent_column_changes_nothing() -> None:
    state = state_of({"service": "a", "agent_id": "x", "updated_at": OLD}, {"service": "b", "updated_at": NEW})
    assert (state["service"], state["agent_id"], state["updated_at"]) == ("b", "x", T0 + SECOND)


def test_an_explicit_null_changes_a_column_and_is_told_from_an_absent_one() -> None:
    state = state_of({"agent_id": "x", "updated_at": OLD}, {"agent_id": None, "thread_id": None, "updated_at": NEW})
    assert state["agent_id"] is None
    assert state["nulls"] == ["agent_id", "thread_id"]


def test_created_at_is_the_version_of_a_row_without_an_updated_at_that_is_an_instant() -> None:
    newer = {"service": "b", "created_at": NEW, "updated_at": "infinity"}
    assert state_of({"service": "c", "updated_at": OLD}, newer)["service"] == "b"
    assert state_of({"service": "c", "updated_at": OLD}, newer)["extra"] == {"updated_at": '"infinity"'}


def test_a_row_without_any_age_is_older_than_all_others() -> None:
    assert state_of({"service": "z"}, {"service": "a", "created_at": "0001-01-01T00:00:00Z"})["service"] == "a"


def test_a_column_can_change_its_type() -> None:
    """The newest value is in the field of its type, and nowhere else."""
    state = state_of({"service": "a", "updated_at": OLD}, {"service": 7, "updated_at": NEW})
    assert (state["service"], state["extra"]) == (None, {"service": "7"})
    state = state_of({"service": 7, "updated_at": OLD}, {"service": "a", "updated_at": NEW})
    assert (state["service"], state["extra"]) == ("a", {})


def test_each_key_of_the_status_has_the_value_of_the_newest_row_that_names_it() -> None:
    state = state_of(
        {"status": {"sent": NEW, "typing": OLD}, "updated_at": OLD},
        {"status": {"sent": OLD, "bounced": OLD}, "updated_at": NEW},
    )
    assert state["status"] == {"sent": T0, "typing": T0, "bounced": T0}
    assert state["delivery_status"] == "sent"


def test_a_null_in_a_status_takes_the_key_back_until_a_newer_row_names_it_again() -> None:
    some: dict[str, Any] = {"status": {"sent": OLD, "odd": 5, "errors": [1]}, "updated_at": OLD}
    none = {"status": {"sent": None, "odd": None, "errors": None, "new": None}, "updated_at": NEW}
    state = state_of(some, none)
    assert (state["status"], state["status_extra"], state["errors"]) == ({}, None, None)
    assert state["delivery_status"] is None
    again = state_of(some, none, {"status": {"sent": NEW}, "updated_at": "2026-05-06T03:39:25Z"})
    assert (again["status"], again["delivery_status"]) == ({"sent": T0 + SECOND}, "sent")


def test_a_status_that_is_null_or_no_object_shows_only_while_nothing_is_known_of_it() -> None:
    assert state_of({"status": None})["nulls"] == ["status"]
    assert state_of({"status": "sent"})["extra"] == {"status": '"sent"'}
    known_statuses: list[dict[str, Any]] = [{"sent": OLD}, {"odd": 5}, {"errors": []}]
    for nothing in (None, "sent"):
        for known in known_statuses:
            state = state_of({"status": known, "updated_at": OLD}, {"status": nothing, "updated_at": NEW})
            assert (state["nulls"], state["extra"]) == ([], {})


def test_errors_go_with_the_newest_row_that_has_some() -> None:
    some: dict[str, Any] = {"status": {"errors": [{"code": 1}]}, "updated_at": OLD}
    none: dict[str, Any] = {"status": {"errors": []}}
    assert state_of(some, none | {"updated_at": NEW})["errors"] == []
    assert state_of(some, none)["errors"] == ['{"code":1}']
    assert state_of(some, {"status": {"sent": NEW}, "updated_at": NEW})["errors"] == ['{"code":1}']


def test_errors_that_are_no_list_count_if_they_are_newer() -> None:
    listed, text = {"status": {"errors": [1]}}, {"status": {"errors": "none"}}
    state = state_of(listed | {"updated_at": OLD}, text | {"updated_at": NEW})
    assert (state["errors"], state["status_extra"]) == (None, {"errors": '"none"'})
    for version in (OLD, NEW):
        state = state_of(text | {"updated_at": OLD}, listed | {"updated_at": version})
        assert (state["errors"], state["status_extra"]) == (["1"], None)


@pytest.mark.parametrize("value", ["infinity", "", True, 0, {}, []])
def test_a_status_that_is_no_instant_is_present_since_its_row_was_written(value: Any) -> None:
    text = encode_text(value)
    state = state_of({"status": {"read": value}, "updated_at": NEW})
    assert (state["status"], state["status_extra"]) == ({"read": T0 + SECOND}, {"read": text})
    assert state["delivery_status"] == "read"
    undated = state_of({"status": {"read": value}})
    assert (undated["status"], undated["status_extra"], undated["delivery_status"]) == ({}, {"read": text}, "read")
    later = state_of({"status": {"read": value}, "updated_at": OLD}, {"status": {"read": OLD}, "updated_at": NEW})
    assert (later["status"], later["status_extra"]) == ({"read": T0}, None)


@pytest.mark.parametrize(
    ("key", "text", "state"),
    [("sent", "null", ({}, None)), ("errors", '"x"', ({}, {"errors": '"x"'})), ("errors", "null", ({}, None))],
)
def test_what_others_write_beside_an_instant_ends_no_worker(key: str, text: str, state: Any) -> None:
    """The text overrules the field, as when a row is rebuilt; the bridge writes no such event."""
    event = event_of({"entity": "messages", "action": "insert", "data": {"id": "m", "status": {}}})
    facts = message.facts_of(event | {"status": {key: T0}, "status_extra": {key: text}})
    assert message.join(facts, facts) == facts
    found = message_state(message.state("m", facts))
    assert (found["status"], found["status_extra"]) == state


def test_an_error_alone_is_a_failure() -> None:
    assert state_of({"status": {"error": "media is gone"}})["delivery_status"] == "failed"
    assert state_of({"status": {"error": "x", "delivered": OLD}})["delivery_status"] == "delivered"
    assert state_of({"status": {"errors": ["x"], "sent": OLD}})["delivery_status"] == "sent"


def test_durations_are_whole_milliseconds_from_timestamp_else_created_at() -> None:
    status = {"sent": "2026-05-06T03:39:24.0019Z", "delivered": "2026-05-06T03:39:22.9995Z"}
    state = state_of({"created_at": OLD, "status": status})
    assert (state["sent_after_ms"], state["delivered_after_ms"], state["read_after_ms"]) == (1001, -1, None)
    state = state_of({"created_at": OLD, "timestamp": NEW, "status": status})
    assert state["sent_after_ms"] == 1
    assert state_of({"created_at": OLD, "timestamp": None, "status": status})["sent_after_ms"] == 1001
    assert state_of({"status": status})["sent_after_ms"] is None


def test_an_update_that_comes_before_its_insert_waits_and_joins() -> None:
    update = {"status": {"read": NEW}, "updated_at": NEW}
    assert message.conversation_of(facts_of(update)) is None
    state = state_of(update, {"conversation_id": "c", "status": {"pending": OLD}, "created_at": OLD})
    assert (state["conversation_id"], state["delivery_status"]) == ("c", "read")


def test_a_message_that_moves_is_where_its_newest_row_says_and_all_its_conversations_hear_of_it() -> None:
    facts = facts_of({"conversation_id": "c2", "updated_at": OLD}, {"conversation_id": "c1", "updated_at": NEW})
    assert message.conversation_of(facts) == "c1"
    assert message.conversations_of(facts) == ["c1", "c2"]


@pytest.mark.parametrize("nothing", [None, 7, {"id": "c"}])
def test_a_message_that_has_a_conversation_always_has_one(nothing: Any) -> None:
    """Else its statuses would be told or not, depending on which row came first."""
    state = state_of({"conversation_id": "c", "updated_at": OLD}, {"conversation_id": nothing, "updated_at": NEW})
    assert (state["conversation_id"], state["nulls"], state["extra"]) == ("c", [], {})
    state = state_of({"conversation_id": "c"}, {"conversation_id": nothing})
    assert state["conversation_id"] == "c"
    alone = state_of({"conversation_id": nothing})
    assert alone["conversation_id"] is None
    assert "conversation_id" in [*alone["nulls"], *alone["extra"]]


def test_the_ranks_of_delivery_are_the_documented_ones() -> None:
    order = ["pending", "held_for_quality_assessment", "accepted", "sent", "failed", "delivered", "read", "deleted"]
    assert sorted(RANKS, key=lambda status: RANKS[status]) == order
    for number, status in enumerate(order):
        assert delivery_status(dict.fromkeys(reversed(order[: number + 1]), 0)) == status
    assert delivery_status({"typing": 5, "edited": 6}) is None


def test_previous_is_the_highest_rank_before_and_of_equal_instants_the_rank_decides() -> None:
    moments = {"pending": 1, "sent": 2, "delivered": 2, "failed": 5, "typing": 3}
    told = {status: previous_status(reached(moments), status, at) for status, at in moments.items()}
    assert told == {
        "pending": None,
        "sent": "pending",
        "delivered": "sent",
        "typing": "delivered",
        "failed": "delivered",
    }


def test_a_row_with_thousands_of_status_keys_announces_a_few_those_that_are_documented_first() -> None:
    status = {f"k{number:05}": OLD for number in range(32_000)} | {"read": NEW, "gone": None, "errors": []}
    facts = facts_of({"conversation_id": "c", "status": status})
    assert len(facts.announced) == 64
    assert set(facts.announced) == {"read", *(f"k{number:05}" for number in range(63))}
    assert len(message.state("m", facts)["status"]) == 32_001
    part = message.contribution(facts)
    assert set(part.status) == {*facts.announced, "errors"}
    assert contributions.age_of(part.status, {}, part.newest, None, part.keys) == message.holder(facts).age
