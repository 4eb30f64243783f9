"""The five documented payloads end in the documented state, whatever their order and however often they are sent."""

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from avro.catalogue import ENTITIES
from avro.jsontext import decode
from support.documented import DocumentedEvents
from support.reference import fold
from support.shipped import Shipped

PAYLOADS = [
    decode(path.read_bytes()) for path in sorted((Path(__file__).parents[4] / "examples" / "payloads").glob("*.json"))
]
CONVERSATION = "c9e2f1a3-8b7d-4e5f-a123-456789abcdef"
INCOMING = "a4a8f56f-4570-47e2-bc2a-2f0d7db288b1"
OUTGOING = "b5b9f67g-5681-58f3-cd3b-3g1e8ec399c2"
ORGANIZATION = "00438702-d4a3-4411-9141-21febf13acbb"


def at(seconds: int) -> int:
    """Return the instant so many seconds after 2026-05-06T03:39:00Z."""
    return (1_778_038_740 + seconds) * 1_000_000


CONVERSATION_STATE: dict[str, Any] = {
    **dict.fromkeys(ENTITIES["conversations"].columns),
    "id": CONVERSATION,
    "organization_id": ORGANIZATION,
    "service": "whatsapp",
    "organization_address": "375446602312881",
    "contact_address": "5215588392274",
    "group_address": None,
    "name": None,
    "status": "closed",
    "created_at": at(23),
    "updated_at": at(23) + 24 * 60 * 60 * 1_000_000,
    "extra": {},
    "nulls": [],
    "known": True,
    "message_count": 2,
    "incoming_count": 1,
    "outgoing_count": 1,
    "internal_count": 0,
    "status_counts": {"read": 1},
    "unread_count": 1,
    "last_message": {
        "message_id": OUTGOING,
        "direction": "outgoing",
        "type": "text",
        "kind": None,
        "preview": "Hi! How can I help you today?",
        "timestamp": at(25),
        "delivery_status": "read",
    },
    "first_incoming_at": at(23),
    "last_incoming_at": at(23),
    "last_outgoing_at": at(25),
    "awaiting_reply": False,
    "unanswered_count": 0,
    "first_response_seconds": 2.0,
    "reply_window_until": at(23) + 24 * 60 * 60 * 1_000_000,
    "archived": False,
    "scheduled_count": 0,
    "failed_count": 0,
    "active_at": at(25),
    "contact": None,
}

OUTGOING_STATE: dict[str, Any] = {
    **dict.fromkeys(ENTITIES["messages"].columns),
    "id": OUTGOING,
    "organization_id": ORGANIZATION,
    "conversation_id": CONVERSATION,
    "external_id": None,
    "direction": "outgoing",
    "agent_id": "d7c1e234-...",
    "contact_address": None,
    "service": None,
    "organization_address": None,
    "group_address": None,
    "thread_id": None,
    "content": '{"text":{"body":"Hi! How can I help you today?"},"type":"text"}',
    "status": {"pending": at(25), "sent": at(26), "delivered": at(27), "read": at(35)},
    "errors": None,
    "status_extra": None,
    "timestamp": None,
    "created_at": at(25),
    "updated_at": at(35),
    "extra": {},
    "nulls": [],
    "delivery_status": "read",
    "sent_after_ms": 1_000,
    "delivered_after_ms": 2_000,
    "read_after_ms": 10_000,
    "scheduled": False,
}

#: `(message id, status)` to at, previous, seconds_since_message.
CHANGES = {
    (INCOMING, "pending"): (at(23), None, 0.0),
    (OUTGOING, "pending"): (at(25), None, 0.0),
    (OUTGOING, "sent"): (at(26), "pending", 1.0),
    (OUTGOING, "delivered"): (at(27), "sent", 2.0),
    (OUTGOING, "read"): (at(35), "delivered", 10.0),
}


def check(shipped: Shipped) -> None:
    assert shipped.conversation_states == {CONVERSATION: CONVERSATION_STATE}
    assert shipped.message_states.keys() == {INCOMING, OUTGOING}
    assert shipped.message_states[OUTGOING] == OUTGOING_STATE
    incoming = shipped.message_states[INCOMING]
    assert incoming["status"] == {"pending": at(23)}
    assert incoming["extra"] == {"wa_id": '"wamid.HBgN..."', "from": '"5215588392274"'}
    told = {(change["message_id"], change["status"]): change for change in shipped.status_changes.values()}
    assert len(shipped.status_changes) == 5
    assert told.keys() == CHANGES.keys()
    for key, (moment, previous, seconds) in CHANGES.items():
        change = told[key]
        assert change["conversation_id"] == CONVERSATION
        assert change["organization_id"] == ORGANIZATION
        assert change["direction"] == ("incoming" if key[0] == INCOMING else "outgoing")
        assert (change["at"], change["previous"], change["seconds_since_message"]) == (moment, previous, seconds)


def test_there_are_five() -> None:
    assert len(PAYLOADS) == 5


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("first", range(5))
def test_all_orders_of_the_five_each_sent_once_or_twice_end_the_same(first: int, times: int) -> None:
    """All 120 orders are covered, 24 for each payload that comes first; no two in a batch."""
    orders = [order for order in permutations(range(5)) if order[0] == first]
    assert len(orders) == 24
    for order in orders:
        shipped = Shipped()
        for number in order * times:
            shipped.receive([PAYLOADS[number]])
            shipped.relay()
        check(shipped)


def test_all_orders_in_one_batch_with_each_sent_twice_in_a_row_end_the_same() -> None:
    for order in permutations(PAYLOADS):
        shipped = Shipped()
        shipped.receive([payload for payload in order for _ in range(2)])
        shipped.relay()
        check(shipped)


def test_the_reference_model_says_the_same() -> None:
    messages, conversations, status_changes = fold(PAYLOADS)
    assert conversations == {CONVERSATION: CONVERSATION_STATE}
    assert messages[OUTGOING] == OUTGOING_STATE
    assert set(status_changes.values()) == CHANGES.keys()


def test_what_tests_of_whole_stacks_expect_is_the_same() -> None:
    documented = DocumentedEvents(suffix="")
    assert documented.contradictions(CONVERSATION_STATE) == {}
    assert documented.status_changes == CHANGES.keys()


@pytest.mark.parametrize("order", [(3, 0, 1, 2, 4), (3, 4, 2, 1, 0)], ids=["in time", "receipt before insert"])
def test_a_receipt_that_comes_after_the_row_tells_of_its_conversation(order: tuple[int, ...]) -> None:
    shipped = Shipped()
    for number in order:
        shipped.receive([PAYLOADS[number]])
        shipped.relay()
    summaries: list[Any] = [change["conversation"] for change in shipped.status_changes.values()]
    status = "open" if order[1] == 0 else "closed"
    assert summaries == 5 * [
        {
            "status": status,
            "service": "whatsapp",
            "contact_address": "5215588392274",
            "organization_address": "375446602312881",
            "name": None,
        }
    ]
