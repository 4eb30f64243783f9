"""OpenTelemetry traces: off unless the environment names a collector, then sent there in the background.

Needs the extra `otel`. The standard variables decide (docs/tracing.md): the collector is OTEL_EXPORTER_OTLP_ENDPOINT or
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, the sampler OTEL_TRACES_SAMPLER, the name OTEL_SERVICE_NAME, and so on. A span has
ids, names and counts; never a text that a person has written.
"""

import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Self

from openbsp.otel import FAREWELL_S, TRACES, allowed, only_failures, resource, unless_hindered

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace import Span, SpanContext

#: In records and requests: W3C trace context.
HEADER = "traceparent"

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

_TRACEPARENT = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 0x01
#: The id of the trace is random, so samplers can decide by its end.
_RANDOM = 0x02


class Kind(Enum):
    """The side of a span, in OpenTelemetry's terms."""

    SERVER = "SERVER"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


class Decision(NamedTuple):
    """Whether a trace is sampled, before any span of it is made.

    If it is, its first span here is a child of `parent`, if there is one, and has the `trace_id`. Otherwise `header` is
    passed on: its receiver does not sample the trace either.
    """

    sampled: bool
    parent: "SpanContext | None"
    trace_id: int
    header: bytes


def record_attributes(topic: str, partition: int, offset: int) -> dict[str, str | int]:
    """Return what a span says of a Kafka record (OpenTelemetry's conventions for messaging)."""
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": str(partition),
        "messaging.kafka.offset": offset,
    }


def wanted(environment: Mapping[str, str]) -> bool:
    """Return whether traces are enabled: a collector is named, and they are not disabled."""
    return (
        any(environment.get(name) for name in _ENDPOINTS)
        and allowed(environment)
        and environment.get("OTEL_TRACES_EXPORTER", "otlp").strip() in {"", "otlp"}
    )


def start(service: str) -> "Tracing | None":
    """Start tracing, if enabled: after a process has forked, as it has a thread. `service` is its name.

    Errors are logged, and the process runs without: webhooks are worth more than traces.
    """
    return unless_hindered(TRACES, lambda: Tracing.of(service)) if wanted(os.environ) else None


class _Ids:
    """Ids as an IdGenerator of OpenTelemetry makes them; of a trace the `chosen` one, once."""

    def __init__(self, ids: "IdGenerator") -> None:
        self.chosen: int | None = None
        self.generate_span_id = ids.generate_span_id
        self.is_trace_id_random = ids.is_trace_id_random
        self.new_trace_id = ids.generate_trace_id

    def generate_trace_id(self) -> int:
        chosen, self.chosen = self.chosen, None
        return self.new_trace_id() if chosen is None else chosen


class Tracing:
    """Makes spans. Decisions, and the spans that begin with one, are for one thread."""

    def __init__(self, provider: "TracerProvider", give_up: Callable[[], None]) -> None:
        """Make them with a provider, which is shut down at the end; `give_up` drops spans that are still being sent."""
        from opentelemetry import trace  # noqa: PLC0415 comes with an extra

        self._provider = provider
        self._give_up = give_up
        self._trace = trace
        self._sampler = provider.sampler
        self._ids = _Ids(provider.id_generator)
        provider.id_generator = self._ids  # type: ignore[assignment] # its class comes with an extra
        self._tracer = provider.get_tracer("openbsp")

    @classmethod
    def of(cls, service: str) -> Self:
        """Send spans to the collector of the environment. Raises ImportError without the extra, ValueError."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        provider = TracerProvider(resource=resource(service), shutdown_on_exit=False)
        exporter = OTLPSpanExporter()
        provider.add_span_processor(BatchSpanProcessor(exporter))
        only_failures(exporter)
        return cls(provider, exporter.shutdown)

    def span(
        self,
        name: str,
        kind: Kind,
        parent: "SpanContext | None",
        *,
        start_ns: int | None = None,
        links: "Iterable[SpanContext]" = (),
        attributes: Mapping[str, str | int] | None = None,
        trace_id: int | None = None,
    ) -> "Span":
        """Start a span, in the trace of `parent` or a new one; `start_ns` is since the epoch, now if it is None.

        `trace_id` is that of a new trace, from a Decision; otherwise it is random.
        """
        trace = self._trace
        # Trap: the sampler uses this id, so with another one it could decide otherwise.
        self._ids.chosen = None if parent is not None else trace_id
        around = None if parent is None else trace.set_span_in_context(trace.NonRecordingSpan(parent))
        return self._tracer.start_span(
            name,
            around,
            trace.SpanKind[kind.value],
            attributes,
            [trace.Link(link) for link in links],
            start_ns,
        )

    def decide(self, name: str, kind: Kind, traceparent: bytes | None) -> Decision:
        """Decide whether a trace is sampled, as its first span would: a span that records nothing costs much more.

        `name` and `kind` are that span's, `traceparent` the received header.
        """
        trace, parent = self._trace, self.parent(traceparent)
        around = None if parent is None else trace.set_span_in_context(trace.NonRecordingSpan(parent))
        trace_id = self._ids.new_trace_id() if parent is None else parent.trace_id
        result = self._sampler.should_sample(around, trace_id, name, trace.SpanKind[kind.value])
        if result.decision.is_sampled():  # type: ignore[no-untyped-call]
            return Decision(sampled=True, parent=parent, trace_id=trace_id, header=b"")
        if parent is None:
            flags = _RANDOM if self._ids.is_trace_id_random() else 0
            header = _header(trace_id, self._ids.generate_span_id(), flags)
        else:
            header = _header(trace_id, parent.span_id, parent.trace_flags & ~_SAMPLED)
        return Decision(sampled=False, parent=parent, trace_id=trace_id, header=header)

    def failed(self, span: "Span", reason: str) -> None:
        """Mark a span as failed."""
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, reason))

    def parent(self, traceparent: bytes | None) -> "SpanContext | None":
        """Return the context in a header `traceparent`, None if it is missing or invalid."""
        found = None if traceparent is None else _TRACEPARENT.fullmatch(traceparent)
        if found is None:
            return None
        trace_id, span_id, flags = (int(part, 16) for part in found.groups())
        return self._trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=self._trace.TraceFlags(flags))

    def close(self) -> None:
        """Send the remaining spans and end; what the collector does not take within 2 s is dropped."""
        impatient = threading.Timer(FAREWELL_S, self._give_up)
        impatient.daemon = True
        impatient.start()
        try:
            self._provider.shutdown()
        finally:
            impatient.cancel()


def header_of(context: "SpanContext") -> bytes:
    """Return the value of a header `traceparent` that refers to a span."""
    return _header(context.trace_id, context.span_id, context.trace_flags)


def _header(trace_id: int, span_id: int, flags: int) -> bytes:
    return b"00-%032x-%016x-%02x" % (trace_id, span_id, flags)


def is_sampled(traceparent: bytes) -> bool:
    """Return whether a header `traceparent` asks for spans, judging by its end."""
    try:
        return bool(int(traceparent[-2:], 16) & _SAMPLED)
    except ValueError:
        return False
