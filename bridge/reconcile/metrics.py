"""The metrics of `bridge reconcile --every`, declared once."""

from dataclasses import asdict

from prometheus_client import CollectorRegistry

from bridge.reconcile.report import Report
from openbsp.metrics import DeclaredMetrics, Description

_SECOND = 1_000_000


class Metrics(DeclaredMetrics):
    """The findings of runs, by entity and organization."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register all of them."""
        super().__init__(registry)
        whose = ("entity", "organization")
        self.rows = self._counter(
            "bridge_reconcile_rows",
            "Rows by outcome, as the counts of reports: compared, missing, different, posted, confirmed, conflicts, "
            "refused, pending, kept_out, asked, gone, deleted, withheld, unjudged.",
            *whose,
            "outcome",
        )
        self.missing = self._gauge(
            "bridge_reconcile_missing", "Rows that the last run found missing or different in the states.", *whose
        )
        self.left = self._gauge(
            "bridge_reconcile_left",
            "Rows that the states did not have right at the end of the last run: not confirmed, refused, in conflict, "
            "withheld.",
            *whose,
        )
        self.orphans = self._gauge(
            "bridge_reconcile_orphans",
            "Rows that had not arrived although others refer to them, when the last run began: messages of which there "
            "are only receipts, conversations of which there are only messages. `bridge reconcile --orphans` fetches "
            "them.",
            *whose,
        )
        self.verified_until = self._gauge(
            "bridge_completeness_verified_until_seconds",
            "The moment up to which every row was compared, and repaired if missing, in seconds since the epoch.",
            *whose,
        )
        self.problems = self._gauge(
            "bridge_reconcile_problems", "Problems that the last run named: what it could not judge, or would not do."
        )
        self.runs = self._counter(
            "bridge_reconcile_runs", "Runs by outcome: well, not_well, failed (it could not be finished).", "outcome"
        )
        self.seconds = self._gauge("bridge_reconcile_run_seconds", "How long the last run took.")
        self.interval = self._gauge(
            "bridge_reconcile_interval_seconds",
            "How often runs begin: `--every`. One that takes longer delays the next.",
        )

    def take(self, report: Report) -> None:
        """Add a report."""
        # An organization that this run did not cover has no numbers of it.
        self.missing.clear()
        self.left.clear()
        self.orphans.clear()
        for (entity, organization), tally in report.tallies.items():
            for outcome, number in asdict(tally).items():
                if number and outcome != "orphans":
                    self.rows.labels(entity, organization, outcome).inc(number)
            self.orphans.labels(entity, organization).set(tally.orphans)
            self.missing.labels(entity, organization).set(tally.missing + tally.different)
            found = tally.missing + tally.different + tally.gone
            self.left.labels(entity, organization).set(found - tally.confirmed + tally.conflicts)
        for (entity, organization), at in report.verified_until.items():
            self.verified_until.labels(entity, organization).set(at / _SECOND)
        self.problems.set(len(report.problems))
        self.seconds.set((report.ended_at - report.began_at) / _SECOND)
        self.runs.labels("well" if report.well else "not_well").inc()


def describe() -> list[Description]:
    """Return the metrics reference."""
    return list(Metrics(CollectorRegistry()).describe())
