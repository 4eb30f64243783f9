"""The trace of one webhook, as a collector has it: bridge, Kafka, join, event stream; and the metrics beside it."""

import secrets
from itertools import pairwise

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from openbsp.up.part import PythonPart
from support.collector import Collector, Measured, Span, collecting
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
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
    }


def sent(collector: Collector, service: str, process: PythonPart) -> dict[str, Measured]:
    """Return what a process has sent last of its metrics, by name."""
    found = eventually(lambda: collector.metrics(service))
    ((instance, metrics),) = found.items()
    assert instance.endswith(process.url.rpartition(":")[2])
    return metrics


def shown(process: PythonPart) -> dict[str, str]:
    """Return the kind of each metric that /metrics shows with a value, by its name."""
    text = httpx.get(f"{process.url}/metrics", headers=HEADERS, trust_env=False).text
    kinds = {"counter": "sum", "gauge": "gauge", "histogram": "histogram"}
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: kinds[family.type]
        for family in text_string_to_metric_families(text)
        if family.samples and not family.name.endswith("_created")
    }


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


def counted_webhooks(collector: Collector, bridge: PythonPart) -> dict[str, float]:
    """Return how many webhooks the bridge has sent that it answered, by outcome."""
    webhooks = sent(collector, "openbsp-bridge", bridge).get("bridge_webhooks_total")
    points = {} if webhooks is None else webhooks.points
    return {dict(labels)["outcome"]: point.as_double for labels, point in points.items()}


def assert_metrics_are_those_of_prometheus(collector: Collector, bridge: PythonPart, worker: PythonPart) -> None:
    """Compare names and kinds with /metrics, and values with what happened."""
    for process, service in ((bridge, "openbsp-bridge"), (worker, "openbsp-streams")):
        eventually(
            lambda process=process, service=service: (
                {name: metric.kind for name, metric in sent(collector, service, process).items()} == shown(process)
            )
        )
    eventually(lambda: counted_webhooks(collector, bridge) == {"published": 2})

    def consumed() -> float:
        counted = sent(collector, "openbsp-streams", worker)["streams_records_consumed_total"]
        return counted.points[("source", "messages"),].as_double

    eventually(lambda: consumed() == 2)


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

    assert_metrics_are_those_of_prometheus(collector, bridge, worker)

    # What ends sends what it has: a trace of its own, as this request names none, and what it counted.
    httpx.post(
        f"{bridge.url}/webhooks", content=b"{", headers={**HEADERS, "Content-Type": "application/json"}, trust_env=False
    )
    bridge.stop()
    (refused,) = [span for span in collector.spans() if span.failure == "malformed_json"]
    assert refused.name == "POST /webhooks"
    assert not refused.parent_id
    assert counted_webhooks(collector, bridge)["malformed_json"] == 1
    worker.stop()


def test_of_several_workers_one_sends_the_metrics_of_all(collector, start_bridge):
    bridge = start_bridge(**variables(collector), BRIDGE_WORKERS="2")
    for number in range(20):
        post(bridge, {"id": f"m{number}"}, secrets.token_hex(16))
    # Trap: a worker that Kafka has not answered yet spools what it takes.
    eventually(lambda: sum(counted_webhooks(collector, bridge).values()) == 20)


def test_a_collector_that_is_away_hinders_nobody(contract, start_bridge):
    bridge = start_bridge(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_BSP_SCHEDULE_DELAY="50",
        OTEL_METRICS_EXPORTER="otlp",
        OTEL_METRIC_EXPORT_INTERVAL="50",
    )
    for number in range(20):
        post(bridge, {"id": f"m{number}"}, secrets.token_hex(16))
    assert bridge.stop() in {0, None}
    assert len(read_all(contract.kafka.bootstrap_servers, contract.topic("messages"))) == 20
