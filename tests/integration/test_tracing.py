"""The trace of one webhook, as a collector has it: bridge, Kafka, join, event stream."""

import secrets
from itertools import pairwise

import httpx
import pytest

from openbsp.up.part import PythonPart
from support.collector import Collector, Span, collecting
from support.consume import headers_of, read_all
from support.sse_client import parse
from support.wait import eventually

pytestmark = pytest.mark.integration

TOKEN = "token-of-the-tests"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def make_part():
    """Return processes whatever the servers are: containers would not reach the collector, which is in this one."""
    return PythonPart


@pytest.fixture
def collector():
    with collecting() as running:
        yield running


def variables(collector: Collector) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}


def post(bridge, row: dict, trace_id: str, flags: str = "01", entity: str = "messages") -> None:
    answer = httpx.post(
        f"{bridge.url}/webhooks",
        json={"entity": entity, "action": "insert", "data": row},
        headers={**HEADERS, "traceparent": f"00-{trace_id}-{'5' * 16}-{flags}"},
        trust_env=False,
    )
    assert answer.status_code == 202, answer.text


def of(spans: list[Span], service: str, name: str) -> Span:
    (found,) = [span for span in spans if (span.service, span.name) == (service, name)]
    return found


def test_one_trace_shows_bridge_kafka_join_and_event_stream(contract, collector, start_bridge, start_streams):
    bridge, worker = start_bridge(**variables(collector)), start_streams(**variables(collector))
    trace_id, unsampled = secrets.token_hex(16), secrets.token_hex(16)
    conversation, message = "c-traced", "m-traced"
    secret = "what somebody has written"
    with httpx.stream("GET", f"{worker.url}/events", headers=HEADERS, timeout=30, trust_env=False) as stream:
        text = ""
        pieces = stream.iter_text()
        while "event: ready" not in text:
            text += next(pieces)
        post(bridge, {"id": "m-unsampled", "conversation_id": conversation}, unsampled, "00")
        row = {"id": message, "conversation_id": conversation, "direction": "incoming", "content": {"text": secret}}
        post(bridge, row, trace_id)
        while not any(event.name == "conversation" for event in parse(text)):
            text += next(pieces)
        names = {
            "POST /webhooks",
            "messages publish",
            "messages merge",
            "message-state publish",
            "streams-contributions publish",
            "streams-contributions merge",
            "conversation-state publish",
            "event stream send",
        }
        spans = eventually(
            lambda: (found := collector.spans(trace_id)) and names <= {span.name for span in found} and found
        )

    webhook = of(spans, "openbsp-bridge", "POST /webhooks")
    published = of(spans, "openbsp-bridge", "messages publish")
    merged = of(spans, "openbsp-streams", "messages merge")
    told = of(spans, "openbsp-streams", "streams-contributions publish")
    counted = of(spans, "openbsp-streams", "streams-contributions merge")
    state = of(spans, "openbsp-streams", "conversation-state publish")
    sent = of(spans, "openbsp-streams", "event stream send")
    chain = [webhook, published, merged, told, counted, state, sent]
    assert webhook.parent_id == "5" * 16
    for before, after in pairwise(chain):
        assert after.parent_id == before.span_id, after.name
        assert before.start_ns <= after.start_ns
    assert all(span.end_ns >= span.start_ns for span in chain)
    # The time inside Kafka is between the two ends of a link.
    assert merged.links == (published.span_id,)
    assert counted.links == (told.span_id,)
    assert webhook.attributes["openbsp.outcome"] == "published"
    assert webhook.attributes["openbsp.id"] == message
    assert merged.attributes["messaging.kafka.offset"] == published.attributes["messaging.kafka.offset"]
    assert of(spans, "openbsp-streams", "message-state publish").parent_id == merged.span_id

    # Consumers go on from where the records come from.
    headers = {
        topic: [headers_of(record) for record in read_all(contract.kafka.bootstrap_servers, contract.topic(topic))]
        for topic in ("messages", "message-state", "conversation-state")
    }
    assert f"00-{trace_id}-{published.span_id}-01" in {found["traceparent"] for found in headers["messages"]}
    assert f"00-{trace_id}-{state.span_id}-01" in {found.get("traceparent") for found in headers["conversation-state"]}
    # Of what is not sampled nothing is sent, and whoever consumes its record learns that.
    assert collector.spans(unsampled) == []
    assert any(found["traceparent"].startswith(f"00-{unsampled}-") for found in headers["messages"])
    assert all(
        found["traceparent"].endswith("-00") for found in headers["messages"] if unsampled in found["traceparent"]
    )
    assert secret not in str(collector.spans())

    # What ends sends what it has: a trace of its own, for this request names none.
    httpx.post(
        f"{bridge.url}/webhooks", content=b"{", headers={**HEADERS, "Content-Type": "application/json"}, trust_env=False
    )
    bridge.stop()
    (refused,) = [span for span in collector.spans() if span.failure == "malformed_json"]
    assert refused.name == "POST /webhooks"
    assert not refused.parent_id
    worker.stop()


def test_a_collector_that_is_away_hinders_nobody(contract, start_bridge):
    bridge = start_bridge(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_BSP_SCHEDULE_DELAY="50")
    for number in range(20):
        post(bridge, {"id": f"m{number}"}, secrets.token_hex(16))
    assert bridge.stop() in {0, None}
    assert len(read_all(contract.kafka.bootstrap_servers, contract.topic("messages"))) == 20
