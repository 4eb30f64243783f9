"""Metrics that are cheap to count, documented from their declaration, with a prefix for each service.

prometheus_client takes a lock for each observation, so frequent events are counted in plain numbers and added to the
metrics when they are read. All of it runs on the event loop's thread. How to add one: docs/howto/metric.md.
"""

from bisect import bisect_left
from collections import Counter as Numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from prometheus_client.metrics import MetricWrapperBase

#: How the values of several processes of a service are combined; without effect for a single process.
AcrossProcesses = Literal["all", "livesum", "livemax", "livemin", "livemostrecent"]


@dataclass(frozen=True, slots=True)
class Description:
    """A line of the metrics reference."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


class Counts:
    """A counter by one or more labels, in plain numbers until `fold`."""

    def __init__(self, counter: Counter) -> None:
        """Start with nothing counted."""
        self._counter = counter
        self._numbers: Numbers[tuple[str, ...]] = Numbers()

    def add(self, *labels: str, number: int = 1) -> None:
        """Count."""
        self._numbers[labels] += number

    def fold(self) -> None:
        """Update the counter."""
        numbers, self._numbers = self._numbers, Numbers()
        for labels, number in numbers.items():
            self._counter.labels(*labels).inc(number)


class _Observed:
    """The observations of one histogram since they were folded."""

    __slots__ = ("counts", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.total = 0.0


class Durations:
    """A histogram of seconds by labels (or none), in plain numbers until `fold`."""

    def __init__(self, histogram: Histogram, bounds: tuple[float, ...], *, labelled: bool) -> None:
        """Start with nothing observed."""
        self._histogram = histogram
        self._bounds = bounds
        self._labelled = labelled
        self._observed: dict[tuple[str, ...], _Observed] = {}

    def observe(self, seconds: float, *labels: str) -> None:
        """Count an observation."""
        observed = self._observed.get(labels)
        if observed is None:
            observed = self._observed[labels] = _Observed(len(self._bounds) + 1)
        observed.counts[bisect_left(self._bounds, seconds)] += 1
        observed.total += seconds

    def fold(self) -> None:
        """Update the histogram."""
        everything, self._observed = self._observed, {}
        for labels, observed in everything.items():
            histogram = self._histogram.labels(*labels) if self._labelled else self._histogram
            _add_observations(histogram, observed.counts, observed.total)


class DeclaredMetrics:
    """Metrics that are declared once, so that the documentation can list them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare none yet."""
        self.registry = registry
        self._declared: list[tuple[MetricWrapperBase, tuple[str, ...]]] = []
        self._folded: list[Counts | Durations] = []

    def fold(self) -> None:
        """Update all metrics that are kept in plain numbers."""
        for metric in self._folded:
            metric.fold()

    def describe(self) -> Iterator[Description]:
        """Yield a line for each metric, in the order of declaration."""
        for metric, labels in self._declared:
            (family,) = metric.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield Description(name, family.type, labels, family.documentation)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        metric = Counter(name, meaning, labels, registry=self.registry)
        self._declared.append((metric, labels))
        return metric

    def _counts(self, name: str, meaning: str, *labels: str) -> Counts:
        counts = Counts(self._counter(name, meaning, *labels))
        self._folded.append(counts)
        return counts

    def _gauge(self, name: str, meaning: str, *labels: str, across_processes: AcrossProcesses = "all") -> Gauge:
        metric = Gauge(name, meaning, labels, registry=self.registry, multiprocess_mode=across_processes)
        self._declared.append((metric, labels))
        return metric

    def _histogram(self, name: str, meaning: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        metric = Histogram(name, meaning, labels, registry=self.registry, buckets=bounds)
        self._declared.append((metric, labels))
        return metric

    def _durations(self, name: str, meaning: str, bounds: tuple[float, ...], *labels: str) -> Durations:
        durations = Durations(self._histogram(name, meaning, bounds, *labels), bounds, labelled=bool(labels))
        self._folded.append(durations)
        return durations


class ServiceMetrics(DeclaredMetrics):
    """The metrics of one process: those of every service; a service adds its own in the same way."""

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        """Register the metrics of every service, with names that begin with `prefix`."""
        super().__init__(registry)
        self.tokens = self._gauge(f"{prefix}_tokens", "Accepted tokens.", across_processes="livemax")
        self.token_reload_failures = self._counter(
            f"{prefix}_token_reload_failures",
            "Attempts to read changed tokens that failed; the former tokens stay valid.",
        )
        self.connections_refused = self._counter(
            f"{prefix}_connections_refused", "Connections closed at once because there were too many."
        )
        self.unreadable_requests = self._counter(
            f"{prefix}_unreadable_requests",
            "Connections closed because what came on them cannot be read as a request, by reason: malformed_request "
            "(TLS, for example), head_too_large.",
            "reason",
        )
        self.clients_given_up = self._counter(
            f"{prefix}_clients_given_up",
            "Connections closed because a request was incomplete, or its answer unread, for too long.",
        )
        self.log_lines_dropped = self._counter(
            f"{prefix}_log_lines_dropped", "Log lines dropped because the log is not read fast enough."
        )


def _add_observations(histogram: Histogram, counts: Sequence[int], total: float) -> None:
    """Add many observations at once: how many fell into each bucket, the last being without bound, and their sum."""
    for bucket, count in zip(histogram._buckets, counts, strict=True):  # noqa: SLF001 there is no public way
        if count:
            bucket.inc(count)
    histogram._sum.inc(total)  # noqa: SLF001 as above
