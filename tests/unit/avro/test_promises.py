"""What the pages promise of headers is what bridge and streams write."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avro import examples
from avro.catalogue import ACTIONS, TOPICS, topic_name
from avro.columns import ENTITIES
from avro.jsontext import encode
from avro.promises import PROMISES
from avro.schemas import latest, records
from bridge.dead_letters.reasons import EXPLANATIONS
from bridge.delivery.items import DeadLetter
from bridge.delivery.records import Record as BridgeRecord
from bridge.delivery.records import RecordMaker
from bridge.http.events import read_event
from streams.contract import Contract, Refused
from streams.engine.source import Record

DOCS = Path(__file__).parents[3] / "docs"
IDS = {record: number for number, record in enumerate(records(), 1)}


#: What each record has.
ALWAYS = {"ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type"}
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def headers_of(record: BridgeRecord) -> tuple[str, list[tuple[str, bytes]]]:
    return record.topic, record.headers


def of_the_bridge() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    maker = RecordMaker("x.", "openbsp", IDS)
    for entity in ENTITIES:
        for action in sorted(ACTIONS):
            data = dict.fromkeys(ENTITIES[entity].identity or ("id",), "i")
            body = encode({"data": data, "entity": entity, "action": action})
            event = read_event(body, received_at=0, traceparent=None, max_depth=10)
            yield headers_of(maker.record(event))
            event.traceparent, event.redriven, event.reconciled = TRACE, 1, True
            event.organizations = frozenset({"o"})
            yield headers_of(maker.record(event))
    yield headers_of(maker.record(DeadLetter("e", "invalid_event", "no id", 0)))
    letter = DeadLetter("e", "x", "y", 0, key="m", redriven=1, organizations=frozenset({"o"}), traceparent=TRACE)
    yield headers_of(maker.record(letter))


def of_the_streams() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    contract = Contract("x.", IDS)

    def fields(record: str) -> Any:
        schema = latest(record)
        return examples.to_fields(schema, examples.load(schema).accepted[0].value)

    yield "x.message-state", contract.message_state(fields("MessageState"))[1]
    yield "x.conversation-state", contract.conversation_state(fields("ConversationState"))[1]
    yield "x.status-changes", contract.status_change(fields("StatusChange"))[1]
    of_a_refused = [given for topic, headers in of_the_bridge() if topic == "x.messages" for given in headers]
    for key, headers in ((None, None), (b"m", of_a_refused)):
        refused = Record(topic="x.messages", partition=0, offset=0, key=key, value=b"", headers=headers)
        yield "x.dead-letters", contract.dead_letter(refused, Refused("undecodable", "empty"))[1]


WRITTEN = [*of_the_bridge(), *of_the_streams()]
NAMES = {topic_name("x.", name): name for name in TOPICS}


@pytest.mark.parametrize(("topic", "headers"), WRITTEN, ids=[topic for topic, _ in WRITTEN])
def test_the_headers_are_the_promised_ones(topic: str, headers: list[tuple[str, bytes]]) -> None:
    written = {name: value.decode() for name, value in headers}
    promise = PROMISES[NAMES[topic]]
    assert written["ce_type"] in promise.event_types
    assert f"`{written['ce_source']}`" in promise.source
    assert written.keys() >= ALWAYS
    assert written.get("ce_subject") != ""


@pytest.mark.parametrize("name", PROMISES)
def test_the_page_and_the_document_have_the_headers_that_records_can_have_and_no_others(name: str) -> None:
    """The worker's tracing adds `traceparent` to whatever it writes."""
    of_records = [{key for key, _ in headers} for topic, headers in WRITTEN if NAMES[topic] == name]
    page = (DOCS / "topics" / f"{name}.md").read_text("utf-8")
    table = page[page.index("## Headers") : page.index("## Fields")]
    document = json.loads((DOCS / "asyncapi.json").read_text("utf-8"))
    described = document["components"]["messages"][str(TOPICS[name].schema)]["headers"]
    assert set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == set().union(*of_records) | {"traceparent"}
    assert described["properties"].keys() == set().union(*of_records) | {"traceparent"}
    assert set(described["required"]) == ALWAYS == set.intersection(*of_records) - {"ce_subject"}


def test_the_delivery_of_dead_letters_names_each_reason_for_which_the_bridge_keeps_nothing() -> None:
    told = PROMISES["dead-letters"].delivery
    never_kept = {code for (origin, code), found in EXPLANATIONS.items() if origin != "streams" and found.hopeless}
    assert set(re.findall(r"`([a-z]+_?[a-z]*)`", told)) == never_kept | {"payload", "invalid_event"}


def test_every_promised_event_type_is_written_by_somebody() -> None:
    written = {dict(headers)["ce_type"].decode() for _, headers in WRITTEN}
    assert written == {name for promise in PROMISES.values() for name in promise.event_types}


def test_remarks_are_of_fields_and_stand_where_the_fields_do() -> None:
    remarked = {name: promise.remarks for name, promise in PROMISES.items() if promise.remarks}
    assert remarked.keys() == {"contacts-addresses"}, "deletes of an address must not be deduplicated"
    for name, remarks in remarked.items():
        record = str(TOPICS[name].schema)
        assert remarks.keys() <= {field["name"] for field in json.loads(latest(record).text)["fields"]}
        page = (DOCS / "topics" / f"{name}.md").read_text("utf-8")
        message = json.loads((DOCS / "asyncapi.json").read_text("utf-8"))["components"]["messages"][record]
        for field, remark in remarks.items():
            assert remark in next(line for line in page.splitlines() if line.startswith(f"| `{field}` |"))
            assert remark in message["description"]
