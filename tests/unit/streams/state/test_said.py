"""What counts as said in a conversation, and what hangs on it."""

from typing import Any

import pytest

from avro import instants
from support.reference import fold
from support.shipped import Shipped

SECOND = 1_000_000
DAY = 24 * 60 * 60 * SECOND
T0 = 1_778_038_740 * SECOND  # 2026-05-06T03:39:00Z


def at(second: int) -> str:
    return f"2026-05-06T03:39:{second:02}Z"


def said(direction: str, second: int, **more: Any) -> dict[str, Any]:
    written = at(second)
    return {"direction": direction, "timestamp": written, "created_at": written, "updated_at": at(50), **more}


REACTION = {"content": {"type": "text", "kind": "reaction", "text": "\U0001f600"}}
FAILED = {"status": {"failed": at(9), "errors": ["x"]}}
SCHEDULED = {"timestamp": "2026-05-07T00:00:00Z", "status": {"pending": at(1)}}
LATER = {"status": {"pending": at(1), "accepted": at(1)}, "timestamp": "2026-05-07T00:00:00Z"}


def after(*rows: dict[str, Any], received_at: int | None = None, **row: Any) -> dict[str, Any]:
    """Return the state of a conversation after messages m0, m1, ... and its row, and the same in the other order."""
    events: list[dict[str, Any]] = [
        {"entity": "messages", "action": "insert", "data": {"id": f"m{number}", "conversation_id": "c", **one}}
        for number, one in enumerate(rows)
    ]
    events.append({"entity": "conversations", "action": "insert", "data": {"id": "c", "service": "whatsapp", **row}})
    events = [one if received_at is None else one | {"received_at": received_at} for one in events]
    states = []
    for order in (events, events[::-1]):
        shipped = Shipped()
        for one in order:
            shipped.receive([one])
            shipped.relay()
        states.append(shipped.conversation_states["c"])
    assert states[0] == states[1] == fold(events)[1]["c"]
    return states[0]


@pytest.mark.parametrize("what", [REACTION, FAILED, SCHEDULED, {"direction": "internal"}, {"direction": "up"}])
def test_reactions_failures_scheduled_and_internal_messages_are_not_said(what: dict[str, Any]) -> None:
    state = after(said("incoming", 1), said("outgoing", 9) | what)
    assert (state["unanswered_count"], state["awaiting_reply"], state["last_outgoing_at"]) == (1, True, None)
    assert (state["first_response_seconds"], state["active_at"]) == (None, T0 + SECOND)
    assert state["message_count"] == 2


def test_an_outgoing_message_answers_all_that_came_before_it() -> None:
    state = after(
        said("incoming", 1), said("incoming", 2), said("outgoing", 5), said("incoming", 7), said("incoming", 8)
    )
    assert (state["unanswered_count"], state["awaiting_reply"]) == (2, True)
    assert (state["first_incoming_at"], state["last_incoming_at"]) == (T0 + SECOND, T0 + 8 * SECOND)
    assert after(said("incoming", 1), said("outgoing", 5))["unanswered_count"] == 0
    assert after(said("outgoing", 5))["awaiting_reply"] is False


def test_an_incoming_reaction_is_not_waited_for() -> None:
    state = after(said("incoming", 1), said("outgoing", 2), said("incoming", 3, **REACTION))
    assert (state["awaiting_reply"], state["unanswered_count"], state["last_incoming_at"]) == (False, 0, T0 + SECOND)
    assert (state["incoming_count"], state["unread_count"]) == (2, 2)


def test_the_last_message_is_one_that_was_sent_or_failed_but_no_reaction_and_none_that_is_scheduled() -> None:
    for other in (REACTION, SCHEDULED):
        assert after(said("incoming", 1), said("outgoing", 9) | other)["last_message"]["message_id"] == "m0"
    state = after(said("incoming", 1), said("outgoing", 9) | FAILED)
    assert (state["last_message"]["message_id"], state["last_message"]["delivery_status"]) == ("m1", "failed")


def test_scheduled_and_failed_messages_are_counted() -> None:
    state = after(said("outgoing", 1) | SCHEDULED, said("outgoing", 2) | LATER, said("outgoing", 3) | FAILED)
    assert (state["scheduled_count"], state["failed_count"], state["outgoing_count"]) == (1, 1, 3)
    assert state["status_counts"] == {"pending": 1, "accepted": 1, "failed": 1}
    state = after(said("incoming", 1, status={"error": "gone"}), said("outgoing", 2, status={"error": "gone"}))
    assert (state["failed_count"], state["unanswered_count"]) == (1, 1)
    assert after(said("incoming", 1) | SCHEDULED)["scheduled_count"] == 0


def test_a_conversation_is_archived_until_something_is_said_again() -> None:
    away = {"extra": {"archived": at(5), "draft": "x"}}
    state = after(said("incoming", 4), **away)
    assert (state["archived"], state["awaiting_reply"], state["unanswered_count"]) == (True, False, 1)
    assert after(said("incoming", 5), **away)["archived"] is True
    assert after(said("incoming", 6), **away)["archived"] is False
    assert after(said("incoming", 6) | {"direction": "internal"}, **away)["archived"] is True
    assert after(**away)["archived"] is True
    for nothing in (None, True, "yes", 5, {}):
        assert after(extra={"archived": nothing})["archived"] is False
    for extra in (None, "archived", ["archived"], {}):
        assert after(extra=extra)["archived"] is False


@pytest.mark.parametrize(
    ("service", "open_for_a_day"), [("whatsapp", True), ("instagram", True), ("sms", False), (5, False)]
)
def test_a_business_may_write_freely_for_a_day(*, service: Any, open_for_a_day: bool) -> None:
    state = after(said("incoming", 2), said("incoming", 1), said("outgoing", 8), service=service)
    assert state["reply_window_until"] == (T0 + 2 * SECOND + DAY if open_for_a_day else None)
    assert after(said("outgoing", 8), service=service)["reply_window_until"] is None


def test_no_reply_window_ends_after_the_year_9999_where_clients_cannot_read_it() -> None:
    state = after(said("incoming", 1) | {"timestamp": "9999-12-31T12:00:00Z"})
    assert state["reply_window_until"] == instants.LAST
    assert instants.render(state["reply_window_until"]).startswith("9999-")


def test_drafts_and_pins_are_no_activity() -> None:
    state = after(said("incoming", 4), created_at=at(1), updated_at="2026-06-01T00:00:00Z", extra={"draft": "x"})
    assert state["active_at"] == T0 + 4 * SECOND
    assert after(created_at=at(1), updated_at=at(9))["active_at"] == T0 + SECOND
    assert after()["active_at"] is None


def test_nothing_is_active_later_than_a_day_after_it_was_received() -> None:
    future = {"timestamp": "2999-01-01T00:00:00Z", "direction": "incoming"}
    assert after(future, received_at=T0)["active_at"] == T0 + DAY
    assert after(created_at="2999-01-01T00:00:00Z", received_at=T0)["active_at"] == T0 + DAY
    assert after(said("incoming", 4), received_at=T0)["active_at"] == T0 + 4 * SECOND
