"""`bridge reconcile --every`: a process that runs repeatedly, with its findings as metrics."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from prometheus_client import CollectorRegistry, start_http_server

from avro.errors import ContractError
from bridge.reconcile.errors import ReconcileError
from bridge.reconcile.metrics import Metrics
from bridge.reconcile.report import Report
from bridge.reconcile.settings import ReconcileSettings
from bridge.sender.errors import PlatformError
from openbsp.commands import ExitCode
from openbsp.log import event, start_plain_logging

_log = logging.getLogger(__name__)


class _StopError(BaseException):
    """A signal stops the run: the rest is left to the next one."""


def run_every(interval_s: float, settings: ReconcileSettings, once: Callable[[], Report]) -> ExitCode:
    """Run at once and then every `interval_s` seconds, until SIGTERM or SIGINT.

    A run that fails is logged and counted; the next one resumes where it was.
    """
    start_plain_logging("INFO", sys.stdout.fileno())
    metrics = Metrics(CollectorRegistry())
    metrics.interval.set(interval_s)
    server, thread = start_http_server(settings.metrics_port, settings.metrics_host, metrics.registry)
    port = server.server_port
    _log.info(
        "metrics at http://%s:%d/metrics, a run every %g s",
        settings.metrics_host,
        port,
        interval_s,
        extra=event("reconcile.started", port=port),
    )
    stopping = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        if not stopping.is_set():
            stopping.set()
            raise _StopError

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        while True:
            began = time.monotonic()
            _run(metrics, once)
            stopping.wait(max(0.0, began + interval_s - time.monotonic()))
    except _StopError:
        _log.info("stopped", extra=event("process.stopped"))
        return ExitCode.OK
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _run(metrics: Metrics, once: Callable[[], Report]) -> None:
    try:
        report = once()
    except (PlatformError, ReconcileError, ContractError) as error:
        metrics.runs.labels("failed").inc()
        _log.error(
            "this run failed, the next one goes on from where it was: %s", error, extra=event("reconcile.failed")
        )
        return
    metrics.take(report)
    total = report.total()
    told = event(
        "reconcile.ended",
        run=report.run,
        well=report.well,
        compared=total.compared,
        missing=total.missing,
        different=total.different,
        gone=total.gone,
        confirmed=total.confirmed,
        conflicts=total.conflicts,
        problems=report.problems,
    )
    log = _log.info if report.well else _log.warning
    log(
        "%d of %d rows missing, %d different, %d gone",
        total.missing,
        total.compared,
        total.different,
        total.gone,
        extra=told,
    )
