"""The five documented events through the whole stack: whatever their order, the same conversation comes out."""

import json
import random
from datetime import UTC, datetime

import httpx
import pytest

from support.consume import AvroReader, headers_of, newest_by_key, read_all
from support.documented import DocumentedEvents
from support.wait import eventually

ORDERS = {
    "as documented": [0, 1, 2, 3, 4],
    "reversed": [4, 3, 2, 1, 0],
    "updates before inserts": [2, 4, 1, 3, 0],
    "each twice in a row": [0, 0, 1, 1, 2, 2, 3, 3, 4, 4],
    "twice over": [0, 1, 2, 3, 4, 0, 1, 2, 3, 4],
    **{f"shuffled duplicates {seed}": random.Random(seed).sample([0, 1, 2, 3, 4] * 2, 10) for seed in range(3)},
}


@pytest.fixture
def events():
    return DocumentedEvents()


def post(stack, events, order=ORDERS["as documented"]):
    """Send the events one after the other; return the receipts."""
    bodies = events.bodies
    receipts = []
    for number in order:
        answer = stack.post(bodies[number])
        assert answer.status_code == 202, answer.text
        receipts.append(answer.json())
    return receipts


def conversation_in_view(stack, events):
    """Return the view's answer once it is the documented conversation."""

    def look():
        answer = stack.view(f"/conversations/{events.conversation}")
        assert answer.status_code == 200, answer.text
        assert events.contradictions(answer.json()) == {}
        return answer.json()

    return eventually(look)


def records_of(stack, topic, keys):
    """Return the records of a topic with these keys."""
    return [message for message in read_all(stack.kafka, f"openbsp.{topic}") if message.key().decode() in keys]


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_whatever_the_order_the_same_state_comes_out(running_stack, events, order):
    post(running_stack, events, order)
    conversation_in_view(running_stack, events)
    reader = AvroReader(running_stack.registry)

    def look():
        states = newest_by_key(records_of(running_stack, "conversation-state", {events.conversation}))
        assert states, "no state yet"
        assert events.contradictions(reader.value(states[events.conversation])) == {}
        changes = [
            reader.value(message) for message in records_of(running_stack, "status-changes", {events.conversation})
        ]
        assert {(change["message_id"], change["status"]) for change in changes} == events.status_changes
        return changes

    changes = eventually(look)
    assert len({change["id"] for change in changes}) == 5
    assert {change["conversation_id"] for change in changes} == {events.conversation}


def test_a_receipt_names_the_place_of_the_record(running_stack, events):
    for receipt in post(running_stack, events):
        assert receipt["disposition"] == "published"
        (record,) = [
            message
            for message in read_all(running_stack.kafka, receipt["topic"])
            if (message.partition(), message.offset()) == (receipt["partition"], receipt["offset"])
        ]
        assert record.key().decode() == receipt["id"]
        assert headers_of(record)["ce_id"] == receipt["event_id"]


def test_the_same_event_has_the_same_id_each_time(running_stack, events):
    first, second = post(running_stack, events, [0, 0])
    assert first["event_id"] == second["event_id"]
    assert first["offset"] < second["offset"]


def test_a_stranger_reads_every_topic(running_stack, events):
    """With confluent-kafka and fastavro alone, as another team has them."""
    post(running_stack, events)
    running_stack.post(json.dumps({"entity": "messages", "action": "insert", "data": {}}).encode())
    conversation_in_view(running_stack, events)
    reader = AvroReader(running_stack.registry)
    for topic, keys in {
        "messages": {events.incoming, events.outgoing},
        "conversations": {events.conversation},
        "message-state": {events.incoming, events.outgoing},
        "conversation-state": {events.conversation},
        "status-changes": {events.conversation},
    }.items():
        records = eventually(lambda topic=topic, keys=keys: records_of(running_stack, topic, keys))
        assert {message.key().decode() for message in records} == keys
        for message in records:
            value = reader.value(message)
            headers = headers_of(message)
            assert headers["ce_specversion"] == "1.0"
            assert headers["content-type"] == "application/avro"
            assert {"ce_id", "ce_source", "ce_type", "ce_subject", "ce_time"} <= headers.keys()
            assert value.get("event_id", headers["ce_id"]) == headers["ce_id"]
            assert datetime.fromisoformat(headers["ce_time"]).tzinfo is not None
    assert [reader.value(message)["reason"] for message in read_all(running_stack.kafka, "openbsp.dead-letters")]


def test_an_event_holds_what_was_received(running_stack, events):
    post(running_stack, events, [0])
    (record,) = records_of(running_stack, "messages", {events.incoming})
    value = AvroReader(running_stack.registry).value(record)
    assert value["direction"] == "incoming"
    assert json.loads(value["content"]) == {"type": "text", "text": {"body": "Hello!"}}
    assert value["status"] == {"pending": datetime(2026, 5, 6, 3, 39, 23, tzinfo=UTC)}
    assert {name: json.loads(text) for name, text in value["extra"].items()} == {
        "wa_id": "wamid.HBgN...",
        "from": "5215588392274",
    }


def test_messages_are_in_the_views(running_stack, events):
    post(running_stack, events)
    conversation_in_view(running_stack, events)
    answer = running_stack.view(f"/messages/{events.outgoing}")
    assert answer.status_code == 200, answer.text
    message = answer.json()
    assert message["delivery_status"] == "read"
    assert (message["sent_after_ms"], message["delivered_after_ms"], message["read_after_ms"]) == (1000, 2000, 10_000)
    answer = running_stack.view(f"/conversations/{events.conversation}/messages")
    assert answer.status_code == 200, answer.text


def test_nobody_without_the_token_sends_or_asks(running_stack, events):
    address = f"{running_stack.views}/conversations/{events.conversation}"
    assert httpx.get(address, timeout=5, trust_env=False).status_code == 401
    answer = httpx.post(f"{running_stack.bridge}/webhooks", content=events.bodies[0], timeout=5, trust_env=False)
    assert answer.status_code == 401
    assert records_of(running_stack, "messages", {events.incoming}) == []
