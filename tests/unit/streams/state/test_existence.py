"""Superseded messages, deletes, and rows of other organizations: each in every order of arrival."""

from collections.abc import Iterable
from itertools import permutations
from random import Random
from typing import Any

import pytest

from openbsp.merge import deletion
from streams.state import message
from support.reference import fold
from support.shipped import Shipped
from support.wire import event_of

Event = dict[str, Any]


def at(second: int) -> str:
    return f"2026-05-06T03:39:{second:02}Z"


def event(entity: str, action: str, key: str, **row: Any) -> Event:
    return {"entity": entity, "action": action, "data": {"id": key, **row}}


def told(key: str, action: str, second: int, *status: str, **more: Any) -> Event:
    """Return an event of an outgoing message's whole row."""
    row = {
        "organization_id": "o",
        "conversation_id": "c",
        "direction": "outgoing",
        "external_id": None,
        "content": {"type": "text", "text": key},
        "created_at": at(0),
        "updated_at": at(second),
        "status": {name: at(second) for name in status},
    }
    return event("messages", action, key, **row | more)


def orders(events: list[Event]) -> Iterable[list[Event]]:
    """Return all orders of arrival of a few events, else some, each with everything once or twice by turns."""
    if len(events) <= 3:
        some = [list(order) for order in permutations(events)]
    else:
        some = [events, events[::-1], *(Random(number).sample(events, len(events)) for number in range(16))]
    for number, order in enumerate(some):
        yield [order, order + order, [one for one in order for _ in range(2)]][number % 3]


def outcome(*events: Event) -> Shipped:
    """Return what is left, the same in all orders of arrival, which is what the reference model says."""
    messages, conversations, changes = fold(events)
    for order in orders(list(events)):
        shipped = Shipped()
        for one in order:
            shipped.receive([one])
            shipped.relay()
        assert shipped.message_states == messages
        assert shipped.conversation_states == conversations
        assert changes.keys() <= shipped.status_changes.keys()
        shipped.crash(back=len(shipped.between))
        shipped.relay()
        assert shipped.message_states == messages
        assert shipped.conversation_states == conversations
    return shipped


REAL = told("a", "insert", 0, "pending")
GHOST = told("b", "insert", 1, "sent", external_id="w", content={})
FOUND = told("a", "update", 2, "pending", "sent", "accepted", external_id="w")


def test_a_message_that_was_made_of_a_receipt_is_gone_once_the_real_one_has_its_external_id() -> None:
    assert outcome(REAL, GHOST).message_states.keys() == {"a", "b"}
    left = outcome(REAL, GHOST, FOUND)
    assert left.message_states.keys() == {"a"}
    state = left.conversation_states["c"]
    assert (state["message_count"], state["outgoing_count"], state["status_counts"]) == (1, 1, {"sent": 1})
    assert state["last_message"]["message_id"] == "a"


def test_it_stays_gone_whatever_still_comes_of_it() -> None:
    late = told("b", "update", 3, "sent", "delivered", external_id="w", content={})
    part = event("messages", "update", "b", status={"delivered": at(4)}, updated_at=at(4))
    assert outcome(REAL, GHOST, FOUND, late, part).message_states.keys() == {"a"}


def test_its_statuses_are_not_told_any_more() -> None:
    shipped = Shipped()
    for one in (REAL, FOUND, GHOST):
        shipped.receive([one])
        shipped.relay()
    shipped.receive([told("b", "update", 3, "sent", "delivered", external_id="w", content={})])
    shipped.relay()
    statuses = {(change["message_id"], change["status"]) for change in shipped.status_changes.values()}
    assert ("b", "delivered") not in statuses


def test_of_any_number_of_holders_in_any_conversation_the_newest_is() -> None:
    others = [
        told("b", "insert", 1, "sent", external_id="w"),
        told("c", "insert", 5, "sent", external_id="w", conversation_id="elsewhere"),
        told("d", "insert", 3, "sent", "delivered", external_id="w"),
    ]
    left = outcome(REAL, *others, told("a", "update", 2, "pending", "sent", "accepted", external_id="w"))
    assert left.message_states.keys() == {"a"}
    assert left.conversation_states.keys() == {"c"}


def test_a_real_message_that_moves_there_later_than_the_receipts_of_the_other_wins() -> None:
    receipts = [
        told("b", "update", n, "sent", *names, external_id="w") for n, names in enumerate([["read"], ["typing"]], 3)
    ]
    found = told("a", "update", 9, "pending", "sent", "read", "typing", external_id="w")
    assert outcome(REAL, GHOST, *receipts, found).message_states.keys() == {"a"}


def test_one_of_them_is_also_if_a_row_with_more_keys_tells_an_earlier_instant_than_one_before_it() -> None:
    """Who is told to be newer stays newer, so what is told of an age must never become less."""
    rows = [(4, "read", "error"), (2, "read", "failed"), (3, "read", "failed", "error")]
    others = [told("a", "update", second, *status, external_id="w") for second, *status in rows]
    newer = told("b", "insert", 4, "read", "sent", "pending", external_id="w")
    assert outcome(*others, newer).message_states.keys() == {"b"}


def test_documented_updates_that_hold_only_what_changed_find_it_too() -> None:
    found = event(
        "messages", "update", "a", external_id="w", status={"sent": at(2), "accepted": at(2)}, updated_at=at(2)
    )
    late = event("messages", "update", "b", status={"delivered": at(3)}, updated_at=at(3))
    assert outcome(REAL, GHOST, found, late).message_states.keys() == {"a"}


@pytest.mark.parametrize("external_id", [None, 5])
def test_messages_without_an_external_id_have_nothing_to_do_with_each_other(external_id: Any) -> None:
    both = told("a", "insert", 0, external_id=external_id), told("b", "insert", 1, external_id=external_id)
    assert outcome(*both).message_states.keys() == {"a", "b"}


def test_another_organization_cannot_supersede_a_message() -> None:
    other = told("b", "insert", 9, "sent", "read", "deleted", external_id="w", organization_id="p", conversation_id="d")
    assert outcome(FOUND, other).message_states.keys() == {"a", "b"}


def test_a_deleted_message_never_comes_back() -> None:
    delete = event("messages", "delete", "a", organization_id="o", conversation_id="c", external_id="w")
    assert outcome(REAL, delete).conversation_states == {}
    left = outcome(REAL, FOUND, delete, told("z", "insert", 1))
    assert left.message_states.keys() == {"z"}
    assert left.conversation_states["c"]["message_count"] == 1
    assert outcome(delete).message_states == {}


def test_one_that_it_superseded_stays_superseded() -> None:
    assert outcome(GHOST, FOUND, event("messages", "delete", "a", organization_id="o")).message_states == {}


def test_a_deleted_conversation_takes_its_messages_along_and_never_comes_back() -> None:
    row = event("conversations", "insert", "c", organization_id="o", name="n", updated_at=at(1))
    delete = event("conversations", "delete", "c", organization_id="o")
    left = outcome(row, delete, REAL, told("z", "insert", 3, conversation_id="d"))
    assert left.message_states.keys() == {"z"}
    assert left.conversation_states.keys() == {"d"}
    assert outcome(row, delete).conversation_states == {}


def test_another_organization_cannot_delete_a_conversation_whose_row_is_unknown() -> None:
    delete = event("conversations", "delete", "c", organization_id="p")
    assert outcome(REAL, delete).conversation_states["c"]["message_count"] == 1
    mine = event("conversations", "delete", "c", organization_id="o")
    assert outcome(REAL, delete, mine).conversation_states == {}


def test_nothing_of_what_was_deleted_is_kept() -> None:
    secret = "4711 secret"
    row = event("conversations", "insert", "c", organization_id="o", name=secret, extra={"draft": secret})
    mine = told("a", "insert", 1, "sent", content={"type": "text", "text": secret}, contact_address=secret)
    mine["data"]["status"] |= {"errors": [secret], "error": secret}
    for delete in (event("conversations", "delete", "c"), event("conversations", "delete", "c", organization_id="o")):
        for order in orders([row, mine, delete]):
            shipped = Shipped()
            for one in order:
                shipped.receive([one])
                shipped.relay()
            kept = list(shipped.stored())
            assert len(kept) == 3
            assert not any(secret.encode() in stored for stored in kept)


@pytest.mark.parametrize("entity", ["messages", "conversations"])
def test_another_organization_cannot_delete_a_row(entity: str) -> None:
    key = {"messages": "a", "conversations": "c"}[entity]
    row = event("conversations", "insert", "c", organization_id="o", name="n", updated_at=at(1))
    left = outcome(row, REAL, event(entity, "delete", key, organization_id="p"))
    assert left.conversation_states["c"]["message_count"] == 1
    assert left.message_states.keys() == {"a"}
    assert outcome(row, REAL, event(entity, "delete", key)).message_states == {}


def test_a_message_of_another_organization_changes_nothing_of_a_conversation() -> None:
    row = event(
        "conversations", "insert", "c", organization_id="o", name="n", status="open", service="x", updated_at=at(1)
    )
    mine = told("a", "insert", 1, direction="incoming")
    theirs = told("z", "insert", 9, "sent", organization_id="p", content={"type": "text", "text": "look"})
    left = outcome(row, mine, theirs)
    assert left.conversation_states == outcome(row, mine).conversation_states
    assert left.message_states.keys() == {"a", "z"}
    foreign = [change for change in left.status_changes.values() if change["message_id"] == "z"]
    assert [change["conversation"] for change in foreign] == [None]


def test_before_the_row_is_known_a_conversation_is_that_of_its_newest_message_and_counts_no_other() -> None:
    mine = told("a", "insert", 1, timestamp=at(1), service="whatsapp", contact_address="x", organization_address="y")
    theirs = told("z", "insert", 1, timestamp=at(9), organization_id="p", content={"type": "text", "text": "look"})
    state = outcome(mine).conversation_states["c"]
    assert state["known"] is False
    borrowed = ("organization_id", "service", "contact_address", "organization_address", "group_address", "name")
    assert [state[name] for name in borrowed] == ["o", "whatsapp", "x", "y", None, None]
    state = outcome(mine, theirs).conversation_states["c"]
    assert (state["organization_id"], state["message_count"]) == ("p", 1)
    row = event("conversations", "insert", "c", organization_id="o")
    state = outcome(mine, theirs, row).conversation_states["c"]
    assert (state["organization_id"], state["message_count"], state["service"]) == ("o", 1, None)


def test_many_names_of_one_message_are_bounded() -> None:
    rows = [told("a", "update", 1, external_id=f"w{n}", organization_id=f"o{n}") for n in range(30)]
    facts = message.facts_of(event_of(rows[0]))
    for row in rows:
        facts = message.join(facts, message.facts_of(event_of(row)))
    assert len(message.holdings(facts)) == deletion.NAMES_LIMIT**2
