"""Every metric of the ingress, declared once."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from openbsp.metrics import Description, add_observations, descriptions

if TYPE_CHECKING:
    from prometheus_client.metrics import MetricWrapperBase

#: The sender gives up after 5 s, so that is where the buckets of an answer end.
_ANSWER_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
_PUBLISH_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_COMMIT_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)


class Tally:
    """Observations of a histogram in plain numbers until `fold`: prometheus_client takes a lock for each of them."""

    def __init__(self, histogram: Histogram) -> None:
        """Start with nothing observed."""
        self._histogram = histogram
        self._bounds = histogram._upper_bounds  # noqa: SLF001 there is no public way to add many at once
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count an observation. From one thread only."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def fold(self) -> None:
        """Bring the histogram up to date. From the same thread."""
        counts, self._counts = self._counts, [0] * len(self._bounds)
        total, self._sum = self._sum, 0.0
        add_observations(self._histogram, counts, total)


class Metrics:
    """The metrics of one worker process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register all of them."""
        self.registry = registry
        self._declared: list[tuple[MetricWrapperBase, tuple[str, ...]]] = []

        self.webhooks = self._counter(
            "bridge_webhooks",
            "Answers to POST /webhooks by entity (other: none of the catalogue), action, and outcome: published, "
            "spooled, or the reason of the refusal.",
            "entity",
            "action",
            "outcome",
        )
        self.answer_seconds = self._tally(
            "bridge_answer_seconds",
            "Time from a webhook's arrival to its answer; the sender gives up after 5 s.",
            _ANSWER_BUCKETS,
        )
        self.publish_seconds = self._tally(
            "bridge_publish_seconds",
            "Time from handing a record to the producer to the acknowledgement of all in-sync replicas.",
            _PUBLISH_BUCKETS,
        )
        self.publish_failures = self._counter(
            "bridge_publish_failures",
            "Records that Kafka did not acknowledge, by librdkafka's error name, or deadline; they are in the spool.",
            "error",
        )
        self.producers_replaced = self._counter(
            "bridge_producers_replaced", "Producers that were replaced after an error that librdkafka calls fatal."
        )
        self.requests_in_progress = self._gauge(
            "bridge_requests_in_progress", "Webhooks that are being worked on.", "livesum"
        )
        self.worker_restarts = self._gauge(
            "bridge_worker_restarts",
            "How often the worker processes that run now took the place of one that died, since the start.",
            "livesum",
        )
        self.unauthorized = self._counter(
            "bridge_unauthorized", "Requests without a valid token, by endpoint.", "endpoint"
        )
        self.tokens = self._gauge("bridge_tokens", "Tokens that may send.", "livemax")
        self.token_reload_failures = self._counter(
            "bridge_token_reload_failures", "Changed tokens files that could not be used; the former tokens stay valid."
        )
        self.dead_letters = self._counter(
            "bridge_dead_letters", "Dead letters made by the ingress, by reason.", "reason"
        )
        self.spool_events = self._gauge("bridge_spool_events", "Events in the spool.", "livesum")
        self.spool_bytes = self._gauge("bridge_spool_bytes", "Bytes of the events in the spool.", "livesum")
        self.spool_oldest_seconds = self._gauge(
            "bridge_spool_oldest_seconds", "Age of the oldest event in the spool, 0 if it is empty.", "livemax"
        )
        self.spool_quarantined = self._gauge(
            "bridge_spool_quarantined",
            "Events that neither their topic nor the dead letters took; they are kept in the spool.",
            "livesum",
        )
        self.spool_commit_seconds = self._histogram(
            "bridge_spool_commit_seconds", "Time of a commit to the spool, its fsync included.", _COMMIT_BUCKETS
        )
        self.spool_failures = self._counter(
            "bridge_spool_failures", "Commits to the spool that failed, such as on a full disk."
        )
        self.spool_drained = self._counter(
            "bridge_spool_drained", "Events that left the spool by outcome: published, dead_letter.", "outcome"
        )
        self.spool_damaged_files = self._counter(
            "bridge_spool_damaged_files", "Damaged spool files that were set aside."
        )
        self.kafka_verified = self._gauge(
            "bridge_kafka_verified", "1 once the topics were found to be as the catalogue has them.", "livemin"
        )
        self.schema_ids_known = self._gauge(
            "bridge_schema_ids_known", "1 once the schema ids are known; before that, events are spooled.", "livemin"
        )
        self.connections_refused = self._counter(
            "bridge_connections_refused", "Connections closed at once because there were too many."
        )
        self.clients_given_up = self._counter(
            "bridge_clients_given_up",
            "Connections closed because a request was incomplete, or its answer unread, for too long.",
        )
        self.log_lines_dropped = self._counter(
            "bridge_log_lines_dropped", "Log lines that were dropped because the reader of the log is too slow."
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        metric = Counter(name, meaning, labels, registry=self.registry)
        self._declared.append((metric, labels))
        return metric

    def _gauge(self, name: str, meaning: str, across_workers: str) -> Gauge:
        metric = Gauge(name, meaning, registry=self.registry, multiprocess_mode=across_workers)  # type: ignore[arg-type]
        self._declared.append((metric, ()))
        return metric

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        metric = Histogram(name, meaning, registry=self.registry, buckets=buckets)
        self._declared.append((metric, ()))
        return metric

    def _tally(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Tally:
        return Tally(self._histogram(name, meaning, buckets))

    def describe(self) -> Iterator[Description]:
        """Return a line for each metric, in the order of declaration."""
        return descriptions(self._declared)


def describe() -> list[Description]:
    """Return the metrics reference."""
    return list(Metrics(CollectorRegistry()).describe())
