"""Every metric of the ingress, declared once. A new one: docs/howto/metric.md.

Parts count where it happens; `refresh` of `bridge/http/health.py` sets the gauges of the moment.
"""

from prometheus_client import CollectorRegistry

from openbsp.metrics import Description, ServiceMetrics

#: The sender gives up after 5 s, so that is where the buckets of an answer end.
_ANSWER_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
_PUBLISH_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_COMMIT_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)


class Metrics(ServiceMetrics):
    """The metrics of one process of the bridge."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register all of them."""
        super().__init__(registry, "bridge")
        self.webhooks = self._counter(
            "bridge_webhooks",
            "Answers to POST /webhooks by entity (other: none of the catalogue), action, and outcome: published, "
            "spooled, client_gone (it left before its body had arrived), or the reason of the refusal.",
            "entity",
            "action",
            "outcome",
        )
        self.answer_seconds = self._durations(
            "bridge_answer_seconds",
            "Time from a webhook's arrival to its answer; the sender gives up after 5 s.",
            _ANSWER_BUCKETS,
        )
        self.publish_seconds = self._durations(
            "bridge_publish_seconds",
            "Time from handing a record to the producer to the acknowledgement of all in-sync replicas.",
            _PUBLISH_BUCKETS,
        )
        self.publish_failures = self._counter(
            "bridge_publish_failures",
            "Records that Kafka did not acknowledge; they are in the spool. By librdkafka's error name, or deadline, "
            "NO_OFFSET (reported as delivered, and in no topic as far as is known), TOPIC_CREATED_AGAIN, BEHIND_FAILED "
            "(not sent, because a record before it failed).",
            "error",
        )
        self.producers_replaced = self._counter(
            "bridge_producers_replaced",
            "Producers replaced: after a fatal error of librdkafka, because no broker has answered one for 30 s, or "
            "because topics were repaired or created again (two for each worker process then).",
        )
        self.requests_in_progress = self._gauge(
            "bridge_requests_in_progress",
            "Webhooks in progress: received and not answered yet.",
            across_processes="livesum",
        )
        self.webhooks_waiting = self._gauge(
            "bridge_webhooks_waiting",
            "Webhooks that wait for memory (BRIDGE_MEMORY_BYTES).",
            across_processes="livesum",
        )
        self.memory_bytes = self._gauge(
            "bridge_memory_bytes",
            "Bytes that events in progress hold: bodies, the producer's queue and the spool's queue.",
            across_processes="livesum",
        )
        self.accept_pauses = self._counter(
            "bridge_accept_pauses",
            "How often new connections had to wait in the backlog, by the limit that was reached: descriptors, "
            "connections, memory.",
            "limit",
        )
        self.misdirected = self._counter(
            "bridge_misdirected",
            "Requests to a path that does not exist or takes no such method, by method: POST, which may be webhooks "
            "that are lost, or other.",
            "method",
        )
        self.worker_restarts = self._gauge(
            "bridge_worker_restarts",
            "Restarts of the running worker processes since the start: how often each replaced one that died.",
            across_processes="livesum",
        )
        self.unauthorized = self._counter(
            "bridge_unauthorized",
            "Requests without a valid token, by endpoint and caller: `token` (a wrong one), `pg_net` (none, "
            "from OpenBSP's sender), `stranger` (none, from anybody else).",
            "endpoint",
            "caller",
        )
        self.dead_letters = self._counter(
            "bridge_dead_letters", "Dead letters made by the ingress, by reason.", "reason"
        )
        self.suppressions = self._gauge(
            "bridge_suppressions",
            "Contacts on the suppression list; webhooks of theirs are dead letters with the reason suppressed.",
            across_processes="livemax",
        )
        self.suppressions_lost = self._gauge(
            "bridge_suppressions_lost",
            "Entries that the suppression list's topic has lost: in effect until the bridge is restarted, and told "
            "after that as long as the list is empty.",
            across_processes="livemax",
        )
        self.suppressions_void = self._gauge(
            "bridge_suppressions_void",
            "Entries of the suppression list that keep nobody out: BRIDGE_SUPPRESSION_KEY is not set, or they were "
            "made with another one.",
            across_processes="livemax",
        )
        self.spool_events = self._gauge("bridge_spool_events", "Events in the spool.", across_processes="livesum")
        self.spool_bytes = self._gauge(
            "bridge_spool_bytes", "Bytes of the events in the spool.", across_processes="livesum"
        )
        self.spool_max_bytes = self._gauge(
            "bridge_spool_max_bytes",
            "Bytes that the spool may have: BRIDGE_SPOOL_MAX_BYTES of each worker process.",
            across_processes="livesum",
        )
        self.spool_oldest_seconds = self._gauge(
            "bridge_spool_oldest_seconds",
            "Age of the oldest event in the spool, 0 if it is empty.",
            across_processes="livemax",
        )
        self.spool_quarantined = self._gauge(
            "bridge_spool_quarantined",
            "Events that neither their topic nor the dead letter topic accepted; they are kept in the spool.",
            across_processes="livesum",
        )
        self.spool_commit_seconds = self._histogram(
            "bridge_spool_commit_seconds", "Time of a commit to the spool, its fsync included.", _COMMIT_BUCKETS
        )
        self.spool_failures = self._counter(
            "bridge_spool_failures",
            "Failed uses of the spool: it could not be opened, a commit failed, or "
            "the check of a failing one (once a second) failed again.",
        )
        self.spool_drained = self._counter(
            "bridge_spool_drained", "Events that left the spool by outcome: published, dead_letter.", "outcome"
        )
        self.spool_damaged_files = self._counter(
            "bridge_spool_damaged_files", "Damaged spool files that were set aside."
        )
        self.spool_recovered_files = self._counter(
            "bridge_spool_recovered_files",
            "Spool files that were removed or moved away under the running bridge, and made again with what they held.",
        )
        self.spools_not_adopted = self._gauge(
            "bridge_spools_not_adopted",
            "Spools of workers that do not exist any more whose events cannot be taken over; it is tried every 20 s.",
            across_processes="livesum",
        )
        self.kafka_verified = self._gauge(
            "bridge_kafka_verified",
            "1 while the topics that the bridge writes to are as the catalogue has them; 0: events are spooled, "
            "also until Kafka has answered for the first time.",
            across_processes="livemin",
        )
        self.topic_remarks = self._gauge(
            "bridge_topic_remarks",
            "Differences of topics from the catalogue that do not stop the bridge, but can lose or refuse something; "
            "/readyz names them.",
            across_processes="livemax",
        )
        self.topics_replaced = self._counter(
            "bridge_topics_replaced", "Topics that were deleted and created again while the bridge ran."
        )
        self.clock_skew_seconds = self._gauge(
            "bridge_clock_skew_seconds",
            "Seconds by which this machine's clock is ahead of the brokers', negative if behind, measured by "
            "acknowledgements; 0 while unknown.",
            across_processes="livemostrecent",
        )
        self.schema_ids_known = self._gauge(
            "bridge_schema_ids_known",
            "1 while there are schema ids to publish with; else events are spooled.",
            across_processes="livemin",
        )
        self.registry_answered = self._gauge(
            "bridge_registry_answered",
            "1 while the registry's latest answer is one that can be used, which it is asked for every 15 s; "
            "0: it cannot be asked, or has not got the schemas.",
            across_processes="livemin",
        )


def describe() -> list[Description]:
    """Return the metrics reference."""
    return list(Metrics(CollectorRegistry()).describe())
