"""What follows from a conversation's row and its messages, case by case."""

from typing import Any

import pytest

from support.shipped import Shipped

AT = "2026-05-06T03:39:{:02}Z"


def after(*rows: dict[str, Any], conversation: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the state of conversation c after the messages m0, m1, ... and its row."""
    shipped = Shipped()
    events = [
        {"entity": "messages", "action": "insert", "data": {"id": f"m{number}", "conversation_id": "c", **row}}
        for number, row in enumerate(rows)
    ]
    if conversation is not None:
        events.append({"entity": "conversations", "action": "insert", "data": {"id": "c", **conversation}})
    for event in events:
        shipped.receive([event])
        shipped.relay()
    return shipped.conversation_states["c"]


def incoming(second: int, **more: Any) -> dict[str, Any]:
    return {"direction": "incoming", "timestamp": AT.format(second), **more}


def outgoing(second: int, **more: Any) -> dict[str, Any]:
    return {"direction": "outgoing", "timestamp": AT.format(second), **more}


def test_it_is_unknown_while_only_messages_have_been_seen() -> None:
    assert after(incoming(1))["known"] is False
    assert after(incoming(1), conversation={})["known"] is True


def test_a_conversation_that_all_messages_have_left_and_that_has_no_row_has_no_state() -> None:
    shipped = Shipped()
    for row in ({"conversation_id": "c1"}, {"conversation_id": "c2", "updated_at": AT.format(1)}):
        shipped.receive([{"entity": "messages", "action": "insert", "data": {"id": "m", **row}}])
        shipped.relay()
    assert shipped.conversation_states.keys() == {"c2"}


def test_messages_are_counted_by_direction_and_all_together() -> None:
    state = after(incoming(1), incoming(2), outgoing(3), {"direction": "internal"}, {"direction": "up"}, {})
    counts = [state[f"{name}_count"] for name in ("message", "incoming", "outgoing", "internal")]
    assert counts == [6, 2, 1, 1]


def test_delivery_statuses_are_counted_of_outgoing_and_unread_of_incoming_messages() -> None:
    read, typing, sent = {"read": AT.format(9)}, {"typing": AT.format(9)}, {"sent": AT.format(9)}
    state = after(
        incoming(1, status=read),
        incoming(2, status=sent),
        incoming(3),
        outgoing(4, status=read),
        outgoing(5, status=sent),
        outgoing(6, status=sent | typing),
        outgoing(7, status=typing),
        {"direction": "internal", "status": sent},
    )
    assert state["status_counts"] == {"read": 1, "sent": 2, "none": 1}
    assert sum(state["status_counts"].values()) == state["outgoing_count"]
    assert state["unread_count"] == 2


def test_the_last_message_is_the_latest_by_time_and_then_by_id_and_never_an_internal_one() -> None:
    internal = {"direction": "internal", "timestamp": AT.format(9)}
    unclear = {"direction": "up", "timestamp": AT.format(9)}
    state = after(incoming(5), outgoing(5), incoming(1), internal, unclear, {"direction": "incoming"})
    assert state["last_message"]["message_id"] == "m1"
    assert after({"direction": "outgoing"}, {"direction": "incoming"})["last_message"]["message_id"] == "m1"
    assert after(internal, unclear)["last_message"] is None


def test_last_times_are_those_of_the_newest_message_of_each_direction() -> None:
    state = after(outgoing(7), incoming(5), outgoing(3), incoming(4), {"direction": "internal"})
    second = 1_000_000
    assert state["last_outgoing_at"] - state["last_incoming_at"] == 2 * second
    timeless = after({"direction": "incoming"})
    assert (timeless["last_incoming_at"], timeless["last_outgoing_at"]) == (None, None)


@pytest.mark.parametrize(
    ("status", "awaiting"), [("open", True), ("closed", False), ("Closed", True), (None, True), (5, True)]
)
def test_a_reply_is_awaited_after_an_incoming_message_unless_closed(*, status: Any, awaiting: bool) -> None:
    row = {"status": status}
    assert after(outgoing(1), incoming(2), conversation=row)["awaiting_reply"] is awaiting
    assert after(incoming(1), outgoing(2), conversation=row)["awaiting_reply"] is False
    assert after(conversation=row)["awaiting_reply"] is False


def test_the_first_response_is_the_first_outgoing_message_at_or_after_the_first_incoming_one() -> None:
    assert after(outgoing(1), incoming(5))["first_response_seconds"] is None
    assert after(outgoing(1), incoming(5), outgoing(9), outgoing(8))["first_response_seconds"] == 3.0
    assert after(outgoing(5), incoming(5))["first_response_seconds"] == 0.0
    assert after(outgoing(5), incoming(6), incoming(3), outgoing(9))["first_response_seconds"] == 2.0
    assert after({"direction": "incoming"}, outgoing(5))["first_response_seconds"] is None
    assert after(incoming(5), {"direction": "outgoing"})["first_response_seconds"] is None


def test_the_row_keeps_unknown_columns_nulls_and_values_of_the_wrong_type() -> None:
    state = after(conversation={"extra": {"b": 1, "a": None}, "name": None, "service": 7, "known": "no"})
    assert state["extra"] == {"extra": '{"a":null,"b":1}', "service": "7", "known": '"no"'}
    assert state["nulls"] == ["name"]
    assert state["known"] is True


def test_a_status_is_told_again_after_a_crash_even_if_the_message_has_moved_on_in_the_table() -> None:
    """What was announced to a conversation is told there, whatever the table says by then."""
    shipped = Shipped()
    stay = {"id": "m", "conversation_id": "c1", "status": {"pending": AT.format(1)}, "updated_at": AT.format(1)}
    move = {"id": "m", "conversation_id": "c2", "updated_at": AT.format(2)}
    for row in (stay, move):
        shipped.receive([{"entity": "messages", "action": "insert", "data": row}])
    shipped.relay()
    told = dict(shipped.status_changes)
    assert len(told) == 1
    shipped.crash(back=len(shipped.between))
    assert shipped.status_changes == {}
    shipped.relay()
    assert shipped.status_changes.keys() == told.keys()
