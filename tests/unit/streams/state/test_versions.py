"""Which of two rows of a message is newer: cases of the sender's database, in every order of arrival."""

from functools import reduce
from itertools import permutations
from typing import Any

import pytest

from streams.state import message
from support.reference import fold
from support.wire import event_of, message_state


def at(second: int) -> str:
    return f"2026-05-06T03:39:{second:02}Z"


def event(action: str, **row: Any) -> dict[str, Any]:
    return {"entity": "messages", "action": action, "data": {"id": "m", **row}}


def whole(action: str, updated: int, text: str, *status: str, **more: Any) -> dict[str, Any]:
    """Return a whole row, whose status has those keys."""
    row = {"conversation_id": "c", "content": {"text": text}, "created_at": at(0), "updated_at": at(updated)}
    return event(action, **row, status={key: at(updated) for key in status}, **more)


def state_of(*events: dict[str, Any]) -> dict[str, Any]:
    """Return the state in any order of arrival, each event once or twice, which is what the reference model says."""
    found = []
    for order in permutations(events):
        for told in (order, order + order, tuple(one for one in order for _ in range(2))):
            facts = reduce(message.join, (message.facts_of(event_of(one)) for one in told))
            found.append(message_state(message.state("m", facts)))
    assert all(state == found[0] for state in found)
    assert found[0] == fold(events)[0]["m"]
    return found[0]


def test_a_transaction_that_began_earlier_and_was_committed_later_wins() -> None:
    """T1 begins, T2 sets a status and is committed, T1 edits the text: its row has the older `updated_at`."""
    insert = whole("insert", 0, "first", "pending")
    t2 = whole("update", 2, "first", "pending", "typing")
    t1 = whole("update", 1, "edited", "pending", "typing", "edited")
    state = state_of(insert, t2, t1)
    assert state["content"] == '{"text":"edited"}'
    assert state["status"].keys() == {"pending", "typing", "edited"}
    assert state_of(insert, t2, t1, t1 | {"action": "insert"})["content"] == '{"text":"edited"}'


def test_a_status_key_too_has_the_value_of_the_row_with_more_keys() -> None:
    t2 = whole("update", 2, "a", "pending")
    t1 = whole("update", 1, "a", "pending", "sent")
    assert state_of(t2, t1)["status"]["pending"] < state_of(t2)["status"]["pending"]


def test_a_null_and_errors_are_keys_as_well() -> None:
    taken = whole("update", 1, "b", "pending")
    taken["data"]["status"] |= {"sent": None, "errors": []}
    state = state_of(whole("update", 2, "a", "pending", "sent"), taken)
    assert (state["content"], state["delivery_status"]) == ('{"text":"b"}', "pending")


def test_of_rows_with_as_many_keys_the_instant_decides_then_an_update_then_the_content() -> None:
    assert state_of(whole("insert", 2, "a", "sent"), whole("update", 1, "b", "read"))["content"] == '{"text":"a"}'
    assert state_of(whole("insert", 1, "b", "sent"), whole("update", 1, "a", "sent"))["content"] == '{"text":"a"}'
    assert state_of(whole("update", 1, "b", "sent"), whole("update", 1, "a", "sent"))["content"] == '{"text":"b"}'


def test_a_whole_row_without_a_status_has_no_keys() -> None:
    bare = event("insert", conversation_id="c", content={"text": "bare"}, updated_at=at(9))
    assert state_of(bare, whole("update", 1, "a", "sent"))["content"] == '{"text":"a"}'
    other = event("update", conversation_id="c", content={"text": "other"}, updated_at=at(8))
    assert state_of(bare, other)["content"] == '{"text":"bare"}'
    for nothing in (None, "sent", []):
        assert state_of(bare, event("update", **other["data"] | {"status": nothing}))["content"] == '{"text":"bare"}'


@pytest.mark.parametrize("keys", [1, 3])
def test_a_row_that_holds_only_what_changed_is_compared_by_its_instant(keys: int) -> None:
    """How many keys its status has says nothing about how many its message has."""
    insert = whole("insert", 1, "first", *["pending", "accepted", "sent"][:keys])
    state = state_of(
        insert,
        event("update", content={"text": "second"}, updated_at=at(2)),
        event("update", status={"delivered": at(3)}, updated_at=at(3)),
        event("update", content={"text": "third"}, status={"pending": None}, updated_at=at(4)),
    )
    assert state["content"] == '{"text":"third"}'
    assert state["delivery_status"] == "delivered"
    assert "pending" not in state["status"]
    assert state["updated_at"] == state_of(event("update", updated_at=at(4)))["updated_at"]


def test_whole_rows_go_on_from_such_a_row_once_a_sender_sends_them() -> None:
    part = event("update", content={"text": "part"}, updated_at=at(2))
    assert state_of(whole("insert", 1, "first"), part, whole("update", 3, "whole"))["content"] == '{"text":"whole"}'
    assert state_of(part, whole("insert", 2, "zzz"))["content"] == '{"text":"part"}'
    assert state_of(part, whole("update", 3, "new", "sent"), whole("update", 1, "old", "sent"))["content"] == (
        '{"text":"new"}'
    )
