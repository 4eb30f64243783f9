"""The bridge's part of a trace: one span for a webhook, one for its record, whatever becomes of them."""

import time

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased

from avro.columns import ENTITIES
from bridge.delivery.items import DeadLetter, Event
from bridge.delivery.keeper import Spooled
from bridge.delivery.publisher import Report
from bridge.delivery.traced import traced
from bridge.errors import NotStoredError
from openbsp.tracing import header_of, is_sampled
from support.spans import Spans

PARENT = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
UNSAMPLED_PARENT = PARENT[:-2] + b"00"
ROW = {"id": "m", "content": "what somebody has written"}


def message(traceparent: bytes | None) -> Event:
    return Event(ENTITIES["messages"], "insert", ROW, b"{}", "e", 1, traceparent)


def kept(item, place, heard=lambda *_: None, sampler: Sampler | None = None):
    """Keep an item; return the spans, and what the keeper was given."""
    spans, given = Spans(sampler), []

    def keep(item, _, on_kept):
        given.append(item)
        on_kept(place)

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
    ("place", "outcome", "failed"), [(Spooled(), "spooled", False), (NotStoredError("full"), "not_stored", True)]
)
def test_what_kafka_does_not_have_says_so(place, outcome, failed):
    spans, _ = kept(message(PARENT), place)
    webhook, record = spans.named("POST /webhooks"), spans.named("messages publish")
    assert webhook.attributes["openbsp.outcome"] == outcome
    assert [span.status.is_ok for span in (webhook, record)] == [not failed] * 2
    assert "messaging.kafka.offset" not in record.attributes


def test_a_dead_letter_is_a_failed_webhook():
    letter = DeadLetter("e", "malformed_json", "no", 1, payload=b"{", traceparent=PARENT)
    spans, _ = kept(letter, Report("openbsp.dead-letters", 0, 0))
    assert spans.named("POST /webhooks").parent.span_id == 0xBBBBBBBBBBBBBBBB
    assert letter.traceparent == header_of(spans.named("dead-letters publish").context)
    assert spans.named("POST /webhooks").status.description == "malformed_json"
    assert spans.named("dead-letters publish").attributes["messaging.destination.name"] == "openbsp.dead-letters"


def test_the_answer_does_not_wait_for_spans_and_its_fault_leaves_none_open():
    open_then = []

    def heard(*_):
        open_then.append(len(spans.ended))
        raise RuntimeError

    spans = Spans()
    keep = traced(lambda _, __, on_kept: on_kept(Spooled()), spans.tracing)
    with pytest.raises(RuntimeError):
        keep(message(None), time.monotonic(), heard)
    assert open_then == [0]
    assert len(spans.ended) == 2


@pytest.mark.parametrize(
    ("sampler", "parent", "sampled"),
    [
        (ALWAYS_ON, UNSAMPLED_PARENT, True),
        (ALWAYS_OFF, PARENT, False),
        (TraceIdRatioBased(0), PARENT, False),
        (ParentBased(ALWAYS_OFF), PARENT, True),
        (ParentBased(ALWAYS_ON), UNSAMPLED_PARENT, False),
        (ParentBased(ALWAYS_OFF), None, False),
        (ParentBased(ALWAYS_OFF), b"no context", False),
        (ParentBased(ALWAYS_ON), b"no context", True),
    ],
)
def test_the_sampler_decides_and_who_reads_the_record_hears_of_it(sampler, parent, sampled):
    event = message(parent)
    spans, given = kept(event, Report("openbsp.messages", 3, 7), sampler=sampler)
    assert given == [event]
    assert len(spans.ended) == (2 if sampled else 0)
    assert event.traceparent is not None
    assert is_sampled(event.traceparent) == sampled
    context = spans.tracing.parent(event.traceparent)
    assert context is not None
    if parent in {PARENT, UNSAMPLED_PARENT}:
        assert context.trace_id == 0xAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
        assert (context.span_id == 0xBBBBBBBBBBBBBBBB) == (not sampled)


def test_what_an_unsampled_trace_ends_with_is_what_the_request_said():
    event = message(UNSAMPLED_PARENT)
    kept(event, Report("openbsp.messages", 3, 7))
    assert event.traceparent == UNSAMPLED_PARENT


def test_a_new_trace_is_decided_on_once_and_by_the_id_that_it_keeps():
    """Whoever else goes by the id, with a rate that is not smaller, samples it as well."""
    spans, half = Spans(ParentBased(TraceIdRatioBased(0.5))), TraceIdRatioBased(0.5)
    keep = traced(lambda _, __, on_kept: on_kept(Spooled()), spans.tracing)
    events = [message(None) for _ in range(400)]
    for event in events:
        keep(event, time.monotonic(), lambda *_: None)
    contexts = [spans.tracing.parent(event.traceparent) for event in events]
    for context in contexts:
        decided = half.should_sample(None, context.trace_id, "POST /webhooks").decision.is_sampled()
        assert decided == context.trace_flags.sampled
    assert len({context.trace_id for context in contexts}) == len(events)
    of_webhooks = {span.context.trace_id for span in spans.ended if span.name == "POST /webhooks"}
    assert of_webhooks == {context.trace_id for context in contexts if context.trace_flags.sampled}
    # Neither all nor none of 400, but for once in 1e119.
    assert 0 < len(of_webhooks) < len(events)


def test_of_a_dead_letter_that_is_not_sampled_there_is_no_span():
    letter = DeadLetter("e", "malformed_json", "no", 1, payload=b"{")
    spans, given = kept(letter, Report("openbsp.dead-letters", 0, 0), sampler=ALWAYS_OFF)
    assert (spans.ended, given) == ([], [letter])
