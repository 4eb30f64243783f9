"""The keeper with traces: a span for each kept webhook, and one for sending its record to Kafka."""

import time

from bridge.delivery.items import DeadLetter, Item
from bridge.delivery.keeper import Keep, Kept, OnKept
from bridge.delivery.publisher import Report
from bridge.errors import NotStoredError
from openbsp.tracing import Kind, Tracing, header_of, record_attributes

_WEBHOOK = "POST /webhooks"


def traced(keep: Keep, tracing: Tracing) -> Keep:
    """Return `keep` with spans; an item is kept with the context of its record's span.

    The webhook's span begins when the request arrived, and belongs to the trace that the request named, if it did. A
    trace that is not sampled gets no spans, and the record says that it is not sampled.
    """

    def keep_traced(item: Item, arrived: float, on_kept: OnKept) -> None:
        decision = tracing.decide(_WEBHOOK, Kind.SERVER, item.traceparent)
        if not decision.sampled:
            item.traceparent = decision.header
            keep(item, arrived, on_kept)
            return
        started = time.time_ns() - int((time.monotonic() - arrived) * 1e9)
        webhook = tracing.span(_WEBHOOK, Kind.SERVER, decision.parent, start_ns=started, trace_id=decision.trace_id)
        webhook.set_attributes(_attributes(item))
        record = tracing.span(f"{_topic(item)} publish", Kind.PRODUCER, webhook.get_span_context())
        if isinstance(item, DeadLetter):
            tracing.failed(webhook, str(item.fields["reason"]))
        item.traceparent = header_of(record.get_span_context())

        def end(kept: Kept) -> None:
            try:
                on_kept(kept)
            finally:
                if isinstance(kept, Report):
                    record.set_attributes(record_attributes(kept.topic, kept.partition, kept.offset))
                    outcome = "published"
                elif isinstance(kept, NotStoredError):
                    outcome = "not_stored"
                    tracing.failed(record, outcome)
                    tracing.failed(webhook, outcome)
                else:
                    outcome = "spooled"
                webhook.set_attribute("openbsp.outcome", outcome)
                record.end()
                webhook.end()

        keep(item, arrived, end)

    return keep_traced


def _topic(item: Item) -> str:
    return "dead-letters" if isinstance(item, DeadLetter) else item.entity.topic


def _attributes(item: Item) -> dict[str, str]:
    """Return the attributes of an item's span: no text that a person has written."""
    attributes = {"openbsp.event_id": item.event_id}
    if isinstance(item, DeadLetter):
        return attributes
    return {**attributes, "openbsp.entity": item.entity.name, "openbsp.action": item.action, "openbsp.id": item.id}
