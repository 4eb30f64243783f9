"""A collector in this process: it takes traces and metrics as exporters send them, OTLP over HTTP, and keeps them."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Span(NamedTuple):
    """A span as it was sent. Ids are hexadecimal, a root has no parent."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    start_ns: int
    end_ns: int
    failure: str
    attributes: dict[str, Any]


class Measured(NamedTuple):
    """A metric of a service as it was sent last. `points` are OTLP's, by their labels as in Prometheus' format."""

    kind: str
    help: str
    points: dict[tuple[tuple[str, str], ...], Any]


class Collector:
    """What has come so far."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self._spans: list[Span] = []
        self._metrics: dict[tuple[str, str], dict[str, Measured]] = {}
        self._lock = threading.Lock()

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            for resource in request.resource_spans:
                service = _values(resource.resource.attributes)["service.name"]
                self._spans += [_span(service, span) for scope in resource.scope_spans for span in scope.spans]

    def take_metrics(self, body: bytes) -> None:
        request = ExportMetricsServiceRequest.FromString(body)
        with self._lock:
            for resource in request.resource_metrics:
                sender = _values(resource.resource.attributes)
                of_sender = self._metrics[sender["service.name"], sender["service.instance.id"]] = {}
                for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                    kind = metric.WhichOneof("data")
                    points = {
                        tuple(sorted(_values(point.attributes).items())): point
                        for point in getattr(metric, kind).data_points
                    }
                    of_sender[metric.name] = Measured(kind, metric.description, points)

    def metrics(self, service: str) -> dict[str, dict[str, Measured]]:
        """Return what each instance of a service has sent last, by name."""
        with self._lock:
            return {instance: dict(found) for (name, instance), found in self._metrics.items() if name == service}

    def spans(self, trace_id: str | None = None) -> list[Span]:
        """Return the spans, those of one trace or all, by their start."""
        with self._lock:
            found = [span for span in self._spans if trace_id in {None, span.trace_id}]
        return sorted(found, key=lambda span: span.start_ns)


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


def _span(service: str, span: Any) -> Span:
    return Span(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        tuple(link.span_id.hex() for link in span.links),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.message,
        _values(span.attributes),
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            status, answer = 200, b""
            if self.path == "/v1/traces":
                collector.take(body)
                answer = ExportTraceServiceResponse().SerializeToString()
            elif self.path == "/v1/metrics":
                collector.take_metrics(body)
                answer = ExportMetricsServiceResponse().SerializeToString()
            else:
                status = 404
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
