"""`--every`: runs go on whatever becomes of one of them, are counted, and a signal ends them."""

import json
import signal
import subprocess
import sys
from urllib.request import urlopen

from prometheus_client import CollectorRegistry

from bridge.reconcile.metrics import Metrics
from bridge.reconcile.report import Report
from support.wait import eventually

PROGRAM = """
from bridge.reconcile.continuous import run_every
from bridge.reconcile.report import Report
from bridge.reconcile.settings import ReconcileSettings
from bridge.sender.errors import PlatformError

runs = 0

def once():
    global runs
    runs += 1
    if runs == 2:
        raise PlatformError("openbsp.test did not answer")
    report = Report(str(runs), "openbsp.test", "1", dry_run=False, began_at=0, ended_at=2_000_000)
    tally = report.of("messages", "acme")
    tally.compared = 10
    tally.missing = tally.confirmed = 4 if runs == 1 else 0
    report.verified_until["messages", "acme"] = runs * 1_000_000
    return report

raise SystemExit(run_every(0.05, ReconcileSettings(metrics_port=0), once))
"""


def test_it_runs_until_a_signal_and_a_failed_run_ends_nothing():
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    try:
        lines = [json.loads(process.stdout.readline()) for _ in range(4)]
        url = f"http://127.0.0.1:{lines[0]['port']}/metrics"

        def counted() -> str:
            with urlopen(url, timeout=5) as answer:
                text = answer.read().decode()
            assert 'bridge_reconcile_runs_total{outcome="failed"} 1.0' in text
            return text

        text = eventually(counted)
        assert 'bridge_reconcile_rows_total{entity="messages",organization="acme",outcome="missing"} 4.0' in text
        assert 'bridge_reconcile_missing{entity="messages",organization="acme"} 0.0' in text
        assert "bridge_reconcile_interval_seconds 0.05" in text
    finally:
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert [line["event"] for line in lines] == [
        "reconcile.started",
        "reconcile.ended",
        "reconcile.failed",
        "reconcile.ended",
    ]
    assert (lines[1]["missing"], lines[1]["well"], lines[3]["missing"]) == (4, True, 0)
    assert '"event":"process.stopped"' in rest


def test_the_gap_rises_and_falls_and_the_moment_stands_still_while_nothing_is_known():
    registry = CollectorRegistry()
    metrics = Metrics(registry)

    def take(missing: int, confirmed: int, until: int | None) -> None:
        report = Report("r", "openbsp.test", "1", dry_run=False, began_at=0)
        tally = report.of("messages", "acme")
        tally.missing, tally.confirmed = missing, confirmed
        if until is not None:
            report.verified_until["messages", "acme"] = until
        metrics.take(report)

    def value(name: str) -> float | None:
        return registry.get_sample_value(name, {"entity": "messages", "organization": "acme"})

    take(5, 3, 7_500_000)
    assert (value("bridge_reconcile_missing"), value("bridge_reconcile_left")) == (5, 2)
    assert value("bridge_completeness_verified_until_seconds") == 7.5
    take(0, 0, None)
    assert (value("bridge_reconcile_missing"), value("bridge_reconcile_left")) == (0, 0)
    assert value("bridge_completeness_verified_until_seconds") == 7.5
