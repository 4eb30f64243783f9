"""Every metric of a worker, declared once.

What happens often is counted in plain numbers and brought into the metrics when somebody reads them: prometheus_client
takes a lock for each observation. All of it runs on the event loop's thread.
"""

from bisect import bisect_left
from collections import Counter as Numbers
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from openbsp.metrics import Description, add_observations, descriptions

if TYPE_CHECKING:
    from prometheus_client.metrics import MetricWrapperBase

_LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 3600.0)
_COALESCE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0)
_REQUEST_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


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
        """Bring the counter up to date."""
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
        """Bring the histogram up to date."""
        everything, self._observed = self._observed, {}
        for labels, observed in everything.items():
            histogram = self._histogram.labels(*labels) if self._labelled else self._histogram
            add_observations(histogram, observed.counts, observed.total)


class Metrics:
    """The metrics of one worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register all of them."""
        self.registry = registry
        self._declared: list[tuple[MetricWrapperBase, tuple[str, ...]]] = []
        self._folded: list[Counts | Durations] = []

        self.consumed = self._counts("streams_records_consumed", "Records read, by the source's name.", "source")
        self.applied = self._counts(
            "streams_records_applied",
            "Records that are in the tables or have become dead letters, by the source's name.",
            "source",
        )
        self.written = self._counts(
            "streams_records_written", "Records that all in-sync replicas have acknowledged, by topic.", "topic"
        )
        self.dead_letters = self._counts("streams_dead_letters", "Dead letters made by the join, by reason.", "reason")
        self.event_seconds = self._durations(
            "streams_event_seconds",
            "Time from the bridge's receiving a webhook to the acknowledgement of everything that follows from it, its "
            "conversation's state among that; of the oldest webhook in each write.",
            _LATENCY_BUCKETS,
        )
        self.coalesce_seconds = self._durations(
            "streams_coalesce_seconds", "Time that changes waited to be written together.", _COALESCE_BUCKETS
        )
        self.unacknowledged = self._gauge(
            "streams_unacknowledged_records", "Written records that the broker has not acknowledged yet."
        )
        self.commit_age = self._gauge(
            "streams_commit_age_seconds", "Time since all that is acknowledged was last known to be committed."
        )
        self.lag = self._gauge(
            "streams_lag_records",
            "Records of owned partitions that are not in the tables yet; the ends are asked for every few seconds.",
            "source",
            "partition",
        )
        self.stalled = self._gauge(
            "streams_partitions_stalled",
            "Owned partitions where records wait and nothing moves; the worker is unready.",
        )
        self.owned = self._gauge("streams_partitions_owned", "Partitions that this worker owns.")
        self.ready = self._gauge("streams_partitions_ready", "Owned partitions for which everything can be answered.")
        self.assignments = self._counter("streams_assignments", "Times that partitions were taken over.")
        self.restored = self._gauge("streams_restored_records", "Changelog records read by the last takeover.")
        self.to_restore = self._gauge(
            "streams_restore_records", "Changelog records that the last takeover has to read at the most."
        )
        self.conversations = self._gauge("streams_conversations_indexed", "Conversations in the indexes.")
        self.requests = self._counts(
            "streams_requests", "Requests to the views, by endpoint and status.", "endpoint", "status"
        )
        self.request_seconds = self._durations(
            "streams_request_seconds",
            "Time from a request to the first of its answer, by endpoint.",
            _REQUEST_BUCKETS,
            "endpoint",
        )
        self.connections_refused = self._counter(
            "streams_connections_refused", "Connections closed at once because there were too many."
        )
        self.clients_given_up = self._counter(
            "streams_clients_given_up",
            "Connections closed because a request was incomplete, or its answer unread, for too long.",
        )
        self.event_streams = self._gauge("streams_event_streams", "Event streams that are open.")
        self.event_streams_cut = self._counter(
            "streams_event_streams_cut", "Event streams that were cut off because the client took too long to read."
        )

    def fold(self) -> None:
        """Bring everything that is kept in plain numbers up to date."""
        for metric in self._folded:
            metric.fold()

    def describe(self) -> Iterator[Description]:
        """Return a line for each metric, in the order of declaration."""
        return descriptions(self._declared)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        metric = Counter(name, meaning, labels, registry=self.registry)
        self._declared.append((metric, labels))
        return metric

    def _counts(self, name: str, meaning: str, *labels: str) -> Counts:
        counts = Counts(self._counter(name, meaning, *labels))
        self._folded.append(counts)
        return counts

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        metric = Gauge(name, meaning, labels, registry=self.registry)
        self._declared.append((metric, labels))
        return metric

    def _durations(self, name: str, meaning: str, bounds: tuple[float, ...], *labels: str) -> Durations:
        metric = Histogram(name, meaning, labels, registry=self.registry, buckets=bounds)
        self._declared.append((metric, labels))
        durations = Durations(metric, bounds, labelled=bool(labels))
        self._folded.append(durations)
        return durations


def describe() -> list[Description]:
    """Return the metrics reference."""
    return list(Metrics(CollectorRegistry()).describe())
