"""Metrics sent to a collector over OTLP, beside /metrics: the same ones, with the same names. Off by default.

Needs the extra `otel`. OTEL_METRICS_EXPORTER=otlp enables them, if OTEL_EXPORTER_OTLP_ENDPOINT names a collector;
OTEL_EXPORTER_OTLP_METRICS_ENDPOINT alone enables them as well (docs/tracing.md). They are read from Prometheus'
registry, as for /metrics: nothing is counted twice, and nothing is done for them in between.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Self

from openbsp.log import describe, event
from openbsp.otel import FAREWELL_S, METRICS, allowed, only_failures, resource, unless_hindered
from openbsp.threads import in_thread

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric, MetricExporter
    from opentelemetry.sdk.resources import Resource
    from prometheus_client import CollectorRegistry
    from prometheus_client.samples import Sample

_ENDPOINT = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
#: Milliseconds; the specification's default.
_USUAL_INTERVAL = "60000"

_log = logging.getLogger(__name__)

Measure = Callable[[], Awaitable["CollectorRegistry"]]


def wanted(environment: Mapping[str, str]) -> bool:
    """Return whether metrics are enabled. A collector alone does not enable them: that of traces may take no others."""
    exporter = environment.get("OTEL_METRICS_EXPORTER", "").strip()
    asked = exporter in {"", "otlp"} and bool(environment.get(_ENDPOINT))
    return allowed(environment) and (
        asked or (exporter == "otlp" and bool(environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")))
    )


def start(service: str, instance: str, measure: Measure, started_ns: int | None = None) -> "MetricsSender | None":
    """Return the sender of metrics, if enabled. Errors are logged, and the process runs without.

    `service` and `instance` identify the process, `measure` updates the metrics, `started_ns` is since when they count
    (nanoseconds since the epoch, now if it is None).
    """
    if not wanted(os.environ):
        return None
    since_ns = time.time_ns() if started_ns is None else started_ns
    return unless_hindered(METRICS, lambda: MetricsSender.of(service, instance, measure, since_ns))


class MetricsSender:
    """Sends a service's metrics periodically."""

    def __init__(
        self, exporter: "MetricExporter", sender: "Resource", measure: Measure, started_ns: int, interval_s: float
    ) -> None:
        """Start with nothing sent."""
        self._exporter = exporter
        self._resource = sender
        self._measure = measure
        self._started_ns = started_ns
        self._interval_s = interval_s

    @classmethod
    def of(cls, service: str, instance: str, measure: Measure, started_ns: int) -> Self:
        """Send to the collector of the environment. Raises ImportError without the extra, ValueError."""
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415 an extra

        interval_s = float(os.environ.get(_INTERVAL) or _USUAL_INTERVAL) / 1000
        if interval_s <= 0:
            raise ValueError(f"{_INTERVAL} is not a positive number of milliseconds")
        exporter = OTLPMetricExporter()
        only_failures(exporter)
        return cls(exporter, resource(service, instance), measure, started_ns, interval_s)

    async def run(self) -> None:
        """Send regularly until cancelled. A collector that does not answer delays the next attempt and nothing else."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self._try_to_send()

    async def close(self) -> None:
        """Send once more, and end; what the collector does not take within 2 s is dropped."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._try_to_send(), FAREWELL_S)
        await in_thread(self._exporter.shutdown)

    async def _try_to_send(self) -> None:
        try:
            await self._send()
        except Exception as error:  # noqa: BLE001 whatever the library raises, the next attempt may succeed
            _log.warning("metrics were not sent: %s", describe(error), extra=event("metrics.not_sent"))

    async def _send(self) -> None:
        from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics  # noqa: PLC0415 an extra
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415 as above

        # Read on this thread, where it is counted.
        metrics = converted(await self._measure(), self._started_ns, time.time_ns())
        scope = ScopeMetrics(InstrumentationScope("openbsp"), metrics, "")
        data = MetricsData([ResourceMetrics(self._resource, [scope], "")])
        # The exporter logs failed sends.
        await in_thread(self._exporter.export, data)


def converted(registry: "CollectorRegistry", started_ns: int, now_ns: int) -> "list[Metric]":
    """Return Prometheus' metrics as OpenTelemetry's, with the names of /metrics."""
    from opentelemetry.sdk.metrics import export  # noqa: PLC0415 comes with an extra

    cumulative = export.AggregationTemporality.CUMULATIVE
    metrics = []
    for family in registry.collect():
        data: export.Sum | export.Gauge | export.Histogram
        name = family.name
        if family.type == "histogram":
            points = [
                # Prometheus' histograms know no smallest and no largest value; OTLP need not have them.
                export.HistogramDataPoint(labels, started_ns, now_ns, count, total, counts, bounds, None, None)  # type: ignore[arg-type]
                for labels, count, total, counts, bounds in _histograms(family.samples)
            ]
            data = export.Histogram(points, cumulative)
        else:
            name = f"{name}_total" if family.type == "counter" else name
            numbers = [
                export.NumberDataPoint(sample.labels, started_ns, now_ns, sample.value)
                for sample in family.samples
                if sample.name == name
            ]
            monotonic = family.type == "counter"
            data = export.Sum(numbers, cumulative, is_monotonic=True) if monotonic else export.Gauge(numbers)
        if data.data_points:
            metrics.append(export.Metric(name, family.documentation, "", data))
    return metrics


def _histograms(
    samples: "Iterable[Sample]",
) -> list[tuple[dict[str, str], int, float, list[int], list[float]]]:
    """Return labels, count, sum, observations in each bucket, and the bounds between them, of each histogram.

    Prometheus' buckets have all observations up to their bound, and the last one has no bound.
    """
    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = defaultdict(list)
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in samples:
        labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        if sample.name.endswith("_bucket"):
            buckets[labels].append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_sum"):
            sums[labels] = sample.value
    found = []
    for labels, unsorted in buckets.items():
        ordered = sorted(unsorted)
        up_to = [0, *(int(count) for _, count in ordered)]
        counts = [after - before for before, after in pairwise(up_to)]
        found.append((dict(labels), up_to[-1], sums[labels], counts, [bound for bound, _ in ordered[:-1]]))
    return found
