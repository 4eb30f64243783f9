"""How complete the states are according to the latest audits of `bridge reconcile`, for the live page."""

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec
from msgspec import Struct

from openbsp.errors import KafkaSettingsError, KafkaUnavailableError, TopicsError
from openbsp.kafka.connection import KafkaSettings
from openbsp.kafka.reading import TopicReader, tail
from openbsp.threads import in_thread

#: At most so many audits of each partition are read: each may name hundreds of rows.
OF_PARTITION = 5
#: The topic is read at most this often, whatever the number of open pages; a failure is cached as long.
KEPT_S = 10.0
TIMEOUT_S = 2.0
#: A run that begins so much later than the interval says is not of the same row.
_LATE_S = 3_600


class Completeness(Struct):
    """The result of the audits. `problem` says why they cannot be read: the rest is the last known result, or null.

    `verified_until` is the moment up to which nothing is missing: the earliest over all entities and organizations;
    null if one of them could not be verified. `every_seconds` is how often runs begin; null if they do not know.
    `missing` and `different` are the findings of the latest run, and `left` those that it could not repair.
    """

    verified_until: str | None = None
    run_ended_at: str | None = None
    every_seconds: int | None = None
    compared: int | None = None
    missing: int | None = None
    different: int | None = None
    left: int | None = None
    problem: str | None = None


Read = Callable[[], Iterable[bytes]]


def newest_of(kafka: KafkaSettings, topic: str) -> list[bytes]:
    """Return the newest audits of each partition. Raises TopicsError, KafkaUnavailableError, KafkaSettingsError."""
    with TopicReader(kafka, topic, TIMEOUT_S) as reader:
        return [message.value() or b"" for message in reader.read(tail(reader.range(), OF_PARTITION))]


class Audits:
    """Reads the end of the topic of audits, on request."""

    def __init__(self, read: Read) -> None:
        """`read` returns audits, see `newest_of`."""
        self._read = read
        self._lock = asyncio.Lock()
        self._known: Completeness | None = None
        self._known_until = 0.0

    async def completeness(self) -> Completeness | None:
        """Return the result of the audits; None if there is none."""
        async with self._lock:
            if time.monotonic() >= self._known_until:
                try:
                    self._known = summary(await in_thread(lambda: list(self._read())))
                except (KafkaUnavailableError, KafkaSettingsError, TopicsError) as error:
                    problem = f"audits cannot be read: {error}"
                    self._known = msgspec.structs.replace(self._known or Completeness(), problem=problem)
                self._known_until = time.monotonic() + KEPT_S
            return self._known


def summary(audits: Iterable[bytes]) -> Completeness | None:
    """Aggregate audits: for each entity and organization the latest moment. None if there is none."""
    reports = sorted(filter(None, map(_report, audits)), key=lambda report: report.ended_at)
    if not reports:
        return None
    # A run may have covered one organization, or orphans only.
    until: dict[tuple[str, str], datetime] = {}
    for report in reports:
        for row in report.rows:
            if row.verified_until is not None:
                until[row.entity, row.organization_id] = row.verified_until
    latest = reports[-1]
    unverified = any(row.compared and (row.entity, row.organization_id) not in until for row in latest.rows)
    verified = None if unverified else min(until.values(), default=None)
    missing, different = sum(row.missing for row in latest.rows), sum(row.different for row in latest.rows)
    gone, confirmed = sum(row.gone for row in latest.rows), sum(row.confirmed for row in latest.rows)
    conflicts = sum(row.conflicts for row in latest.rows)
    return Completeness(
        None if verified is None else verified.isoformat(),
        latest.ended_at.isoformat(),
        next((report.every_s for report in reversed(reports) if report.is_followed_by(latest)), None),
        sum(row.compared for row in latest.rows),
        missing,
        different,
        max(0, missing + different + gone - confirmed) + conflicts,
    )


class _Row(Struct):
    """The needed members of a report's row; see bridge.reconcile.report."""

    entity: str
    organization_id: str
    compared: int
    missing: int
    different: int
    gone: int
    confirmed: int
    conflicts: int
    verified_until: datetime | None


class _Report(Struct):
    dry_run: bool
    ended_at: datetime
    rows: list[_Row]
    every_s: int | None = msgspec.field(name="every_seconds", default=None)

    def is_followed_by(self, latest: "_Report") -> bool:
        """Return whether it is of a row of runs that the latest one may still belong to."""
        return self.every_s is not None and (latest.ended_at - self.ended_at).total_seconds() <= self.every_s + _LATE_S


class _Audit(Struct):
    report: _Report


_AUDIT = msgspec.json.Decoder(_Audit)


def _report(audit: bytes) -> _Report | None:
    """Return the report of an audit; None for a run that changed nothing, and for an invalid audit."""
    try:
        report = _AUDIT.decode(audit).report
    except msgspec.DecodeError:
        return None
    return None if report.dry_run else report
