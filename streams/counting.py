"""What the join does, counted: the engine tells of it by hooks, and knows no metrics.

How to add one: docs/howto/metric.md.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

from openbsp.metrics import Counts
from streams.app import JoinApp
from streams.metrics import Metrics

if TYPE_CHECKING:
    from streams.engine.source import Record


class Counting:
    """Counts for one worker."""

    def __init__(self, metrics: Metrics, sources: Mapping[str, str]) -> None:
        """Start with nothing counted; `sources` has the names in the catalogue of the topics that are read."""
        self._metrics = metrics
        self._sources = sources
        self._written: Counter[str] = Counter()

    def listen(self, app: JoinApp) -> None:
        """Subscribe to a program's hooks."""
        metrics, hooks = self._metrics, app.hooks
        hooks.began.add(self._began)
        hooks.took.add(lambda records: self._count(metrics.consumed, records))
        hooks.joined.add(lambda records: self._count(metrics.applied, records))
        hooks.flushed.add(metrics.coalesce_seconds.observe)
        hooks.settled.add(self._settled)
        hooks.acknowledged.add(self._acknowledged)
        hooks.lost.add(metrics.standby_lag.clear)
        hooks.records_lost.add(lambda topic, count: metrics.records_lost.add(self._sources[topic], number=count))
        hooks.position_refused.add(lambda topic: metrics.positions_refused.add(self._sources[topic]))
        hooks.log_repaired.add(metrics.changelogs_repaired.add)
        hooks.partitions_changed.add(metrics.partitions_changed.set)
        hooks.event_set_aside.add(lambda topic: metrics.events_set_aside.add(self._sources[topic]))
        hooks.store_set_aside.add(metrics.stores_set_aside.add)
        hooks.followed.add(self._followed)
        app.intake.refused.add(metrics.dead_letters.add)
        app.superseded.add(metrics.superseded.inc)

    def fold(self) -> None:
        """Update the metrics that are kept in plain numbers here."""
        written, self._written = self._written, Counter()
        for topic, number in written.items():
            self._metrics.written.add(topic, number=number)

    def _began(self, *_: object) -> None:
        self._metrics.assignments.inc()
        self._metrics.partitions_changed.set(0)

    def _settled(self, received_at: int | None) -> None:
        if received_at is not None:
            # The bridge's clock and this one may differ a little.
            self._metrics.event_seconds.observe(max(0.0, time.time() - received_at / 1e6))

    def _acknowledged(self, topic: str, _partition: int, _offset: int) -> None:
        # For each record: a further call would cost more than all of this.
        self._written[topic] += 1

    def _followed(self, lags: Mapping[tuple[str, int], int]) -> None:
        self._metrics.standby_lag.clear()
        for (table, partition), lag in lags.items():
            self._metrics.standby_lag.labels(table, partition).set(lag)

    def _count(self, counts: Counts, records: "Sequence[Record]") -> None:
        for topic, number in Counter(map(_topic_of, records)).items():
            counts.add(self._sources[topic], number=number)


_topic_of = itemgetter(0)
