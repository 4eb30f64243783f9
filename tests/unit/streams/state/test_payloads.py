"""The five documented payloads end in the documented state, whatever their order and however often they are sent."""

import re
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from avro.columns import ENTITIES
from avro.jsontext import decode
from support.documented import DocumentedEvents
from support.reference import fold
from support.shipped import Shipped

PAYLOADS = [
    decode(path.read_bytes()) for path in sorted((Path(__file__).parents[4] / "examples" / "payloads").glob("*.json"))
]
EXPECTED = DocumentedEvents(suffix="").expected


def stored(value: Any) -> Any:
    """Return a value with microseconds for instants, as states have them."""
    if isinstance(value, dict):
        return {name: stored(member) for name, member in value.items()}
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z", value):
        return (datetime.fromisoformat(value) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return value


def state(entity: str, expected: dict[str, Any]) -> dict[str, Any]:
    return {**dict.fromkeys(ENTITIES[entity].columns), "nulls": [], **stored(expected)}


CONVERSATION = EXPECTED["conversation"]["id"]
CONVERSATION_STATE = state("conversations", EXPECTED["conversation"])
MESSAGE_STATES = {message["id"]: state("messages", message) for message in EXPECTED["messages"]}
CHANGES = {(change["message_id"], change["status"]): stored(change) for change in EXPECTED["status_changes"]}


def check(shipped: Shipped) -> None:
    assert shipped.conversation_states == {CONVERSATION: CONVERSATION_STATE}
    assert shipped.message_states == MESSAGE_STATES
    told = {(change["message_id"], change["status"]): change for change in shipped.status_changes.values()}
    assert len(shipped.status_changes) == 5
    assert told.keys() == CHANGES.keys()
    for key, expected in CHANGES.items():
        change = told[key]
        assert change["conversation_id"] == CONVERSATION
        assert change["organization_id"] == CONVERSATION_STATE["organization_id"]
        assert change["direction"] == MESSAGE_STATES[key[0]]["direction"]
        assert {name: change[name] for name in expected} == expected


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
    assert messages == MESSAGE_STATES
    assert set(status_changes.values()) == CHANGES.keys()


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
