"""The numbers of `bridge top` as a screen."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bridge.top.readings import Change
from openbsp.terminal import printable

_STYLES = {"ready": "green", "degraded": "yellow", "unready": "bold red", "down": "bold red"}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_KIBI = 1024
#: Outcomes of stored webhooks; every other one is a refusal.
_STORED = ("published", "spooled")


def screen(bridges: Mapping[str, Change], workers: Mapping[str, Change], now: datetime) -> RenderableType:
    """Return the screen, with the processes by their addresses."""
    parts: list[RenderableType] = [Text(f"{now.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z", "dim")]
    if bridges:
        parts += [_bridges(bridges)]
    if workers:
        parts += [Text(), _workers(workers)]
    changes = [*bridges.items(), *workers.items()]
    letters = _dead_letters([change for _, change in changes])
    if letters is not None:
        parts += [Text(), letters]
    said = [(url, text) for url, change in changes for text in (change.now.fault, *change.now.remarks) if text]
    if said:
        parts += [Text(), Text("What hinders", "bold")]
        parts += [Text(f"  {url}  ", "cyan") + Text(printable(text)) for url, text in said]
    return Group(*parts)


def _bridges(bridges: Mapping[str, Change]) -> Table:
    table = _table(
        "bridge",
        "state",
        "webhooks/s",
        "published/s",
        "spooled/s",
        "refused/s",
        "p50",
        "p99",
        "in work",
        "spool",
        "oldest",
    )
    for url, change in bridges.items():
        outcomes = "bridge_webhooks_total"
        every = change.rate(outcomes)
        stored = [change.rate(outcomes, outcome=outcome) for outcome in _STORED]
        refused = None if every is None else max(0.0, every - sum(rate or 0.0 for rate in stored))
        now = change.now
        spool = f"{now.total('bridge_spool_events'):,.0f} ({size(now.total('bridge_spool_bytes'))})"
        table.add_row(
            Text(url, "cyan"),
            _state(change),
            number(every),
            *(number(rate) for rate in stored),
            number(refused),
            duration(change.quantile("bridge_answer_seconds", 0.5)),
            duration(change.quantile("bridge_answer_seconds", 0.99)),
            _count(change, "bridge_requests_in_progress"),
            "-" if now.fault else spool,
            "-" if now.fault else duration(now.total("bridge_spool_oldest_seconds")),
        )
    return table


def _workers(workers: Mapping[str, Change]) -> Table:
    table = _table(
        "streams worker",
        "state",
        "events/s",
        "written/s",
        "lag",
        "worst",
        "partitions",
        "stalled",
        "p50",
        "p99",
        "lost",
    )
    for url, change in workers.items():
        now = change.now
        lags = now.by("streams_lag_records", "partition")
        worst = max(lags, key=lambda partition: lags[partition], default=None)
        ready, owned = (now.total(f"streams_partitions_{kind}") for kind in ("ready", "owned"))
        table.add_row(
            Text(url, "cyan"),
            _state(change),
            number(change.rate("streams_records_applied_total")),
            number(change.rate("streams_records_written_total")),
            _count(change, "streams_lag_records"),
            "-" if worst is None or not lags[worst] else f"{lags[worst]:,.0f} in {worst}",
            "-" if now.fault else f"{ready:.0f} of {owned:.0f}",
            _count(change, "streams_partitions_stalled"),
            duration(change.quantile("streams_event_seconds", 0.5)),
            duration(change.quantile("streams_event_seconds", 0.99)),
            _count(change, "streams_records_lost_total"),
        )
    return table


def _dead_letters(changes: Sequence[Change]) -> Table | None:
    """Return the dead letters by reason, of all processes together; None if there are none."""
    total: dict[tuple[str, str], float] = {}
    fresh: dict[tuple[str, str], float] = {}
    for change in changes:
        for origin in ("bridge", "streams"):
            name = f"{origin}_dead_letters_total"
            for reason, count in change.now.by(name, "reason").items():
                total[origin, reason] = total.get((origin, reason), 0.0) + count
                fresh[origin, reason] = fresh.get((origin, reason), 0.0) + change.grown(name, reason=reason)
    if not any(total.values()):
        return None
    table = _table("dead letters since the start", "by", "count", "new")
    for origin, reason in sorted(found for found, count in total.items() if count):
        new = fresh[origin, reason]
        cells = (f"{total[origin, reason]:,.0f}", f"+{new:,.0f}" if new else "-")
        table.add_row(Text(printable(reason), "red" if new else ""), origin, *cells)
    return table


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="left" if column in {"state", "by"} else "right", no_wrap=True)
    return table


def _state(change: Change) -> Text:
    return Text(printable(change.now.state), _STYLES.get(change.now.state, "yellow"))


def _count(change: Change, name: str) -> str:
    return "-" if change.now.fault else f"{change.now.total(name):,.0f}"


def number(rate: float | None) -> str:
    """Return a rate, with a fraction where it is small."""
    if rate is None:
        return "-"
    return f"{rate:,.0f}" if rate >= 10 or not rate else f"{rate:.1f}"  # noqa: PLR2004 of two digits a fraction says nothing


def duration(seconds: float | None) -> str:
    """Return seconds in a suitable unit."""
    if seconds is None:
        return "-"
    if math.isinf(seconds):
        return "very long"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 or not seconds else f"{seconds * 1000:.0f} ms"


def size(count: float) -> str:
    """Return bytes in a suitable unit."""
    for unit in _UNITS[:-1]:
        if count < _KIBI:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _KIBI
    return f"{count:.1f} {_UNITS[-1]}"
