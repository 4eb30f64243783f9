"""The bridge's part of a trace: one span for a webhook, one for its record, whatever becomes of them."""

import time

import pytest

from avro.catalogue import ENTITIES
from bridge.delivery.publisher import Report
from bridge.delivery.records import DeadLetter
from bridge.delivery.traced import traced
from bridge.errors import NotStoredError
from bridge.http.events import Event
from openbsp.tracing import header_of
from support.spans import Spans

PARENT = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
ROW = {"id": "m", "content": "what somebody has written"}


def message(traceparent: bytes | None) -> Event:
    return Event(ENTITIES["messages"], "insert", ROW, b"{}", "e", 1, traceparent)


def kept(item, report=None, error=None, heard=lambda *_: None):
    """Keep an item; return the spans, and what the keeper was given."""
    spans, given = Spans(), []

    def keep(item, _, on_kept):
        given.append(item)
        on_kept(report, error)

    traced(keep, spans.tracing)(item, time.monotonic() - 1, heard)
    return spans, given


def test_a_record_goes_on_from_the_span_of_its_publishing():
    event = message(PARENT)
    spans, given = kept(event, Report("openbsp.messages", 3, 7))
    webhook, record = spans.named("POST /webhooks"), spans.named("messages publish")
    assert given == [event]
    assert event.traceparent == header_of(record.context)
    assert webhook.parent.span_id == 0xBBBBBBBBBBBBBBBB
    assert record.parent.span_id == webhook.context.span_id
    assert webhook.end_time - webhook.start_time >= 1_000_000_000  # it began when the request came
    assert record.attributes["messaging.kafka.offset"] == 7
    assert webhook.attributes["openbsp.outcome"] == "published"
    assert "somebody" not in str([span.to_json() for span in spans.ended])


def test_without_a_context_a_trace_begins():
    event = message(None)
    spans, _ = kept(event, Report("openbsp.messages", 0, 0))
    assert spans.named("POST /webhooks").parent is None
    assert event.traceparent is not None


@pytest.mark.parametrize(
    ("error", "outcome", "failed"), [(None, "spooled", False), (NotStoredError("full"), "not_stored", True)]
)
def test_what_kafka_does_not_have_says_so(error, outcome, failed):
    spans, _ = kept(message(PARENT), None, error)
    webhook, record = spans.named("POST /webhooks"), spans.named("messages publish")
    assert webhook.attributes["openbsp.outcome"] == outcome
    assert [span.status.is_ok for span in (webhook, record)] == [not failed] * 2
    assert "messaging.kafka.offset" not in record.attributes


def test_a_dead_letter_is_a_failed_webhook():
    spans, _ = kept(DeadLetter("e", "malformed_json", "no", 1, payload=b"{"), Report("openbsp.dead-letters", 0, 0))
    assert spans.named("POST /webhooks").status.description == "malformed_json"
    assert spans.named("dead-letters publish").attributes["messaging.destination.name"] == "openbsp.dead-letters"


def test_the_answer_does_not_wait_for_spans_and_its_fault_leaves_none_open():
    open_then = []

    def heard(*_):
        open_then.append(len(spans.ended))
        raise RuntimeError

    spans = Spans()
    keep = traced(lambda _, __, on_kept: on_kept(None, None), spans.tracing)
    with pytest.raises(RuntimeError):
        keep(message(None), time.monotonic(), heard)
    assert open_then == [0]
    assert len(spans.ended) == 2
