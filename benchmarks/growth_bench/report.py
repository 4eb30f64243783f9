"""The tables of growth, as a page of the documentation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from support.machine import command

from growth_bench.points import Point, Tables

_MIB = 2**20
#: Drawn by plots.py, if its library can be had.
PLOTS = {
    "growth-throughput": "Events per second",
    "growth-memory": "Peak memory",
    "growth-restart": "Seconds until workers are ready again",
}
_PAGE = """\
# Benchmark of growth

Written by `{command}` on {date}; `make bench-growth` prints such tables. What follows from them
for a cluster: [all benchmarks](benchmarks.md).

**Machine**: {machine}. Broker, workers and harness share it: with more workers than processors, they share those too.

{plots}## Throughput, memory, restart

{points}
{failures}
- Each point is one run, no median: conversations' rows and messages x (insert + an update for each further status) are
  in the topics, and workers with empty tables (RocksDB, default settings but no compression) join them. Everything that
  comes out is compared with what must come out; a difference fails the benchmark.
- **Conversations** grow with fewer events for each than workers and partitions grow with, as the table says, so that a
  million fits into the time: points of one kind are to be compared. Their plots have a panel each. The fewest are
  joined in a few seconds, of which the second worker's start is a part. What has no row yet is joined all the same.
- **Events/s**: the time runs from the first event to the append time of the last record that was needed. **Join's
  time** and **broker's** are processor time for each event, starts and the reading of the comparison included.
- **Out** are records in all outputs. A status change is told again if it came before the row of its conversation,
  which happened where a long backlog was read, before [0232](decisions/0232-sources-are-read-at-one-pace.md).
- **Ready again** is the time from the start of all workers, with their data directories, until all answer for all that
  they own, and their resident memory then.

## Tables

{tables}

Four partitions. *Reading* is a bare consumer over the same changelogs: {records} (keys, values and headers, neither
compressed nor compacted).
"""


@dataclass(frozen=True)
class Report:
    """Everything that was measured."""

    machine: str
    points: Sequence[Point]
    tables: Sequence[Tables]

    def lines(self) -> str:
        """Return the tables."""
        return f"{self._points()}\n\n{self._tables()}"

    def page(self, plots: str, failures: Sequence[str]) -> str:
        """Return the page with these plots, and what failed."""
        return _PAGE.format(
            command=command(),
            date=datetime.now(UTC).date().isoformat(),
            machine=self.machine,
            plots=plots,
            failures="".join(f"\nLeft out, or failed: {failure}\n" for failure in failures),
            points=self._points(),
            tables=self._tables(),
            records=", ".join(f"{each.changelog_records:,} records" for each in self.tables) or "none here",
        )

    def sizes(self) -> str:
        """Return in a line what was measured."""
        counts = sorted({point.conversations for point in self.points})
        return f"{len(self.points)} points, {counts[0]:,} to {counts[-1]:,} conversations" if counts else "no point"

    def figures(self) -> dict[str, Any]:
        """Return what plots and the model of cost need."""
        return {
            "points": [asdict(point) for point in self.points],
            "tables": [asdict(each) for each in self.tables],
        }

    def _points(self) -> str:
        lines = [
            (
                "| conversations | rows | messages each | statuses each | events | workers | partitions | events/s "
                "| out | join's time | broker's | peak | ready | then |"
            ),
            f"|{' --: |' * 14}",
        ]
        lines += [
            f"| {point.conversations:,} | {-(-point.conversations // point.row_of_each):,} | {point.messages} "
            f"| {point.statuses} | {point.events:,} | {point.workers} | {point.partitions} | {point.per_second:,.0f} "
            f"| {point.written / point.events:.2f} an event "
            f"| {point.cpu_s * 1e6:.0f} us | {point.broker_s * 1e6:.0f} us | {point.peak_bytes / _MIB:,.0f} MiB "
            f"| {point.restart_s:.1f} s | {point.resident_bytes / _MIB:,.0f} MiB |"
            for point in self.points
        ]
        return "\n".join(lines)

    def _tables(self) -> str:
        lines = [
            "| conversations | messages | workers | changelogs | reading | start | ready after | resident |",
            "| --: | --: | --: | --: | --: | --- | --: | --: |",
        ]
        lines += [
            f"| {each.conversations:,} | {each.messages:,} | {each.workers} | {each.changelog_bytes / _MIB:,.0f} MiB "
            f"| {each.reading_s:.1f} s | {start.how} | {start.seconds:.1f} s | {start.resident_bytes / _MIB:,.0f} MiB |"
            for each in self.tables
            for start in each.starts
        ]
        return "\n".join(lines)
