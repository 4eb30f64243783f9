"""Every metric of a worker, declared once. A new one: docs/howto/metric.md.

The join knows of none: `streams/counting.py` counts what the engine's hooks report. The views count where it happens.
The gauges of the moment are set by `_measured` of `streams/views/service.py`: those of the tables in `measure` of
`streams/views/read/tables.py`, which it calls.
"""

from prometheus_client import CollectorRegistry

from openbsp.metrics import Description, ServiceMetrics

_LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 3600.0)
_COALESCE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0)
_REQUEST_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics(ServiceMetrics):
    """The metrics of one worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register all of them."""
        super().__init__(registry, "streams")
        self.started = self._gauge(
            "streams_started_timestamp_seconds", "Time of the worker's start, seconds since 1970."
        )
        self.started.set_to_current_time()
        self.consumed = self._counts("streams_records_consumed", "Records read, by the source's name.", "source")
        self.applied = self._counts(
            "streams_records_applied",
            "Records that are in the tables or have become dead letters, by the source's name.",
            "source",
        )
        self.records_lost = self._counts(
            "streams_records_lost",
            "Records that were deleted, by retention or by hand, before they were read, by the source's name; "
            "their changes are missing in the states.",
            "source",
        )
        self.positions_refused = self._counts(
            "streams_positions_refused",
            "Committed positions that were not followed at a takeover, by the source's name: the topic was created "
            "again, or another program committed. Reading began with the first record.",
            "source",
        )
        self.changelogs_repaired = self._counts(
            "streams_changelogs_repaired",
            "Partitions of changelogs and state topics that were emptied, created again or cut and are written again, "
            "from this worker's table or from the sources, by topic; counted when it is noticed.",
            "table",
        )
        self.partitions_changed = self._gauge(
            "streams_partitions_changed",
            "Number of partitions with which the tables were made, while the topics have another one and nothing is "
            "joined; else 0.",
        )
        self.stores_set_aside = self._counts(
            "streams_stores_set_aside",
            "Stores on disk that were damaged, set aside and read from their changelogs, by table.",
            "table",
        )
        self.events_set_aside = self._counts(
            "streams_events_set_aside",
            "Events that ended workers and were set aside as dead letters, by the source's name.",
            "source",
        )
        self.written = self._counts(
            "streams_records_written", "Records that all in-sync replicas have acknowledged, by topic.", "topic"
        )
        self.dead_letters = self._counts("streams_dead_letters", "Dead letters made by the join, by reason.", "reason")
        self.superseded = self._counter(
            "streams_messages_superseded",
            "Messages that turned out to be older than another with their external id.",
        )
        self.event_seconds = self._durations(
            "streams_event_seconds",
            "Time from the arrival of a webhook at the bridge to the acknowledgement of all that follows from it, its "
            "conversation's state among that; of the oldest webhook in each write.",
            _LATENCY_BUCKETS,
        )
        self.coalesce_seconds = self._durations(
            "streams_coalesce_seconds", "Time that changes waited to be coalesced into one write.", _COALESCE_BUCKETS
        )
        self.unacknowledged = self._gauge(
            "streams_unacknowledged_records", "Written records that the broker has not acknowledged yet."
        )
        self.commit_age = self._gauge(
            "streams_commit_age_seconds", "Time since the offsets of everything acknowledged were last committed."
        )
        self.lag = self._gauge(
            "streams_lag_records",
            "Lag: records of owned partitions that are not in the tables yet; end offsets are read every few seconds.",
            "source",
            "partition",
        )
        self.stalled = self._gauge(
            "streams_partitions_stalled",
            "Owned partitions with records to process and no progress; the worker is unready.",
        )
        self.owned = self._gauge("streams_partitions_owned", "Partitions that this worker owns.")
        self.ready = self._gauge(
            "streams_partitions_ready",
            "Owned partitions that are caught up and indexed, so that every request is answered.",
        )
        self.assignments = self._counter("streams_assignments", "Takeovers of partitions.")
        self.restored = self._gauge("streams_restored_records", "Changelog records read by the last takeover.")
        self.to_restore = self._gauge(
            "streams_restore_records", "Changelog records that the last takeover reads at most."
        )
        self.standby_lag = self._gauge(
            "streams_standby_lag_records",
            "Changelog records that this worker's standby copy of a partition lacks, by table; the least that a "
            "takeover reads. Looked at every few seconds; none while partitions are being distributed.",
            "table",
            "partition",
        )
        self.conversations = self._gauge("streams_conversations_indexed", "Conversations in the indexes.")
        self.orphans = self._gauge(
            "streams_orphaned_conversations",
            "Of these, conversations that are known by messages only: their row never arrived. `GET /orphans` "
            "lists them.",
        )
        self.store_compaction = self._gauge(
            "streams_store_compaction_interval_seconds",
            "STREAMS_STORE_COMPACTION_S: how often each store on disk is compacted. 0: tables are kept in memory.",
        )
        self.stores_compacted = self._gauge(
            "streams_stores_compacted_timestamp_seconds",
            "Time of the last compaction of the store that was compacted longest ago, seconds since 1970: what was "
            "deleted before is in no store of this worker. 0: no store is open.",
        )
        self.disk_free = self._gauge(
            "streams_disk_free_share",
            "Free share of the disk of the stores, of space or of inodes, whichever is less. 0: full, mounted "
            "read-only, or not to be asked. 1: tables are kept in memory.",
        )
        self.disk_free.set(1)
        self.requests = self._counts(
            "streams_requests", "Requests to the views, by endpoint and status.", "endpoint", "status"
        )
        self.request_seconds = self._durations(
            "streams_request_seconds",
            "Time from a request to the start of its response, by endpoint.",
            _REQUEST_BUCKETS,
            "endpoint",
        )
        self.reads_waiting = self._gauge(
            "streams_reads_waiting", "Reads that wait for a partition to be handed over, restored or caught up with."
        )
        self.reads_waited = self._counts(
            "streams_reads_waited",
            "Reads that had to wait for a partition, by outcome: answered, passed_on (to another worker, as this one "
            "was stopping), timed_out, refused (too many waited).",
            "outcome",
        )
        self.schema_ids_known = self._gauge(
            "streams_schema_ids_known",
            "1 while the registry has the schemas that states are written with, as far as it answers; else "
            "consumers cannot read what is written.",
        )
        self.event_streams = self._gauge("streams_event_streams", "Event streams that are open.")
        self.event_streams_cut = self._counter(
            "streams_event_streams_cut", "Event streams closed because the client reads too slowly."
        )


def describe() -> list[Description]:
    """Return the metrics reference."""
    return list(Metrics(CollectorRegistry()).describe())
