"""The ingress's health: gauges, and whether it can store events."""

import os
import sqlite3
import time
from typing import Any

from prometheus_client import CollectorRegistry, multiprocess

from bridge.http.parts import Service
from bridge.supervisor import METRICS_VARIABLE

#: For callers that anyone can trigger, the disk is not checked more often.
_LOOK_EVERY_S = 1.0


async def refresh(service: Service, *, seldom: bool = False) -> None:
    """Update the gauges, and check whether a failing spool works again.

    `seldom`: a result of the last second suffices. Anyone may ask for /readyz, and a check costs an fsync while the
    spool fails.
    """
    spool, metrics, observed = service.spool, service.metrics, service.observed
    if not seldom or time.monotonic() - observed.looked_at >= _LOOK_EVERY_S:
        # Before the check: requests during it need none of their own.
        observed.looked_at = time.monotonic()
        await _look(service)
    metrics.spool_events.set(spool.events)
    metrics.spool_bytes.set(spool.size)
    metrics.spool_max_bytes.set(spool.max_bytes)
    metrics.spool_oldest_seconds.set(observed.oldest_s)
    metrics.spool_quarantined.set(observed.quarantined)
    if service.clock.ahead_s is not None:
        metrics.clock_skew_seconds.set(service.clock.ahead_s)
    metrics.requests_in_progress.set(service.ingress.in_progress)
    metrics.webhooks_waiting.set(service.ingress.memory.waiting)
    metrics.memory_bytes.set(service.ingress.memory.held)
    metrics.fold()
    service.requests.fold()


async def measured(service: Service) -> CollectorRegistry:
    """Return the current metrics: of this worker, or of all workers of its supervisor if there are several."""
    await refresh(service)
    if METRICS_VARIABLE not in os.environ:
        return service.metrics.registry
    # Each worker writes its values to files, and any of them answers for all.
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


async def _look(service: Service) -> None:
    spool, observed = service.spool, service.observed
    if spool.failing is not None:
        await spool.probe()
    try:
        oldest, observed.quarantined = await spool.status()
    except sqlite3.Error as error:
        spool.failing = str(error)
    else:
        observed.oldest_s = 0.0 if oldest is None else service.ages.age_s(oldest)


def can_store(service: Service) -> bool:
    """Return whether an event would be accepted now, as far as can be known."""
    spool = service.spool
    spool_takes = spool.failing is None and not spool.full
    ready = service.preparation.maker is not None and service.suppressions.ready.is_set()
    kafka_takes = ready and not spool.events and not service.keeper.failing
    return spool_takes or kafka_takes


def state(service: Service) -> str:
    """Return `ready`, `degraded` (it stores, but an operator should look) or `unready` (it cannot store)."""
    if not can_store(service):
        return "unready"
    spool = service.spool
    normal = (
        service.preparation.maker is not None
        and not service.preparation.waiting_for
        and not _remarks(service)
        and not spool.events
        and spool.failing is None
        and not service.observed.quarantined
        and not spool.damaged_files
        and not service.acceptor.reached
    )
    return "ready" if normal else "degraded"


def details(service: Service) -> dict[str, Any]:
    """Return the details behind the state. For operators: they name servers and errors, never content."""
    spool = service.spool
    return {
        "publishing": service.preparation.maker is not None and not spool.events,
        "waiting_for": dict(service.preparation.waiting_for),
        "faults": sorted(service.preparation.faults),
        "remarks": _remarks(service),
        "limits_reached": list(service.acceptor.reached),
        "last_publish_failure": service.keeper.last_failure,
        "spool": {
            "events": spool.events,
            "bytes": spool.size,
            "max_bytes": service.settings.spool_max_bytes,
            "oldest_seconds": round(service.observed.oldest_s, 3),
            "quarantined": service.observed.quarantined,
            "damaged_files": spool.damaged_files,
            "failing": spool.failing,
            "last_drain_failure": service.drain.last_failure,
        },
    }


def obstacle(service: Service) -> str:
    """Return what keeps the spool's events from Kafka, as far as it is known."""
    missing = [f"{server}: {problem}" for server, problem in service.preparation.waiting_for.items()]
    if not service.suppressions.ready.is_set():
        missing.append("the suppression list has not been read")
    if service.drain.last_failure is not None:
        missing.append(f"the last attempt: {service.drain.last_failure}")
    return "; ".join(missing) or "neither the brokers nor the disk have answered yet"


def _remarks(service: Service) -> list[str]:
    """Return notes for operators: events are stored, but the state is `degraded`."""
    clock = service.clock.remark
    others = [] if clock is None else [clock]
    return [*service.preparation.remarks, *others, *service.suppressions.problems]
