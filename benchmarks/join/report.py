"""What was measured, as tables on a terminal and as a page of the documentation."""

from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median

from rich.console import Console
from rich.table import Table

from join.latency import RATE, ROUND_TRIPS, Distribution
from join.race import Result
from join.recovery import Recovery

REFERENCES = {
    "kafka-streams-memory": "x Kafka Streams in memory",
    "kafka-streams-rocksdb": "x Kafka Streams RocksDB",
    "quix": "x Quix Streams",
}


class Sheet:
    """A table with a title, for both kinds of output; the first column is text, the others are numbers."""

    def __init__(self, title: str, *columns: str) -> None:
        self.title = title
        self.columns = columns
        self.rows: list[tuple[str, ...]] = []

    def add(self, *cells: str) -> None:
        """Add a row."""
        self.rows.append(cells)

    def show(self, console: Console) -> None:
        """Print it."""
        table = Table(title=self.title, title_justify="left")
        for column in self.columns:
            table.add_column(column, justify="right" if table.columns else "left", no_wrap=not table.columns)
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def markdown(self) -> str:
        """Return it as Markdown, without the title."""
        lines = [self.columns, tuple("---" if not i else "--:" for i in range(len(self.columns))), *self.rows]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def throughput(results: Sequence[Result]) -> Sheet:
    """Return the table of the race: medians of all runs, and ratios of the medians."""
    by_key: dict[str, list[Result]] = {}
    for result in results:
        by_key.setdefault(result.key, []).append(result)
    references = {key: _rate(by_key[key]) for key in REFERENCES if key in by_key}
    sheet = Sheet(
        "The join: events per second",
        "contestant",
        "events/s",
        "lowest-highest",
        "second half",
        *(REFERENCES[key] for key in references),
        "CPU s",
        "peak MiB",
        "records out",
    )
    for runs in by_key.values():
        rate = _rate(runs)
        rates = sorted(run.rate for run in runs)
        sheet.add(
            runs[0].name,
            f"{rate:,.0f}",
            f"{rates[0]:,.0f}-{rates[-1]:,.0f}",
            f"{median(run.late_rate for run in runs):,.0f}",
            *(f"{rate / reference:.2f}" for reference in references.values()),
            f"{median(run.cpu_seconds for run in runs):.1f}",
            f"{median(run.peak_bytes for run in runs) / 2**20:,.0f}",
            f"{median(run.written for run in runs):,.0f}",
        )
    return sheet


def _rate(runs: Sequence[Result]) -> float:
    return median(run.rate for run in runs)


def latency(distributions: Sequence[Distribution]) -> Sheet:
    """Return the table of latencies."""
    sheet = Sheet(f"Latency at {RATE} events/s, in ms", "from -> to", "p50", "p99", "max", "samples")
    for found in distributions:
        sheet.add(found.name, f"{found.p50:.1f}", f"{found.p99:.1f}", f"{found.most:.1f}", f"{found.count:,}")
    return sheet


def recovery(found: Recovery) -> Sheet:
    """Return the table of starts; time and memory are those above a worker with empty tables."""
    sheet = Sheet(
        f"Starting again with {found.messages:,} messages ({found.changelog_records:,} changelog records)",
        "start",
        "seconds",
        "x reading",
        "MiB",
        "MiB per 100,000 messages",
    )
    sheet.add("merely reading the changelogs", f"{found.reading:.1f}", "1.00", "", "")
    for start in found.starts:
        empty = found.empty["memory" if start.name.startswith("in memory") else "rocksdb"]
        seconds = max(0.0, start.seconds - empty.seconds)
        grown = (start.resident_bytes - empty.resident_bytes) / 2**20
        sheet.add(
            start.name,
            f"{seconds:.1f}",
            f"{seconds / found.reading:.2f}",
            f"{start.resident_bytes / 2**20:,.0f}",
            f"{grown / found.messages * 100_000:,.1f}",
        )
    return sheet


PAGE = """\
# Benchmarks of the join

Written by `python benchmarks/join.py --markdown docs/benchmarks-join.md` on {date}; `make bench-join` prints the same
tables.

**Machine**: {machine}. Broker, contestant and harness share it, so only
ratios say something about another machine.

**Input**: {events:,} events: {conversations:,} conversations x (1 row + 10 messages x (insert + 3 partial updates)),
in the order of their time: {conversations_per_s} conversations begin in each second of it, and the updates of a
message come within ten seconds of its insert, thousands of other events in between. They are in the topics before a
contestant starts, and are the same bytes for all.

## Throughput

{throughput}
{left_out}
- **The job** is the same for all: message table with merged status and `message-state`; re-keyed to the conversation;
  `conversation-state` with absolute counts, last message and first response; `status-changes` joined with the
  conversation; same Avro schemas, CloudEvents headers, one broker, four partitions. After each run every message
  state, every conversation state and every status change id is compared with what the workload must lead to; a run
  with a difference does not count.
- **Time** runs from the first event that the contestant takes to the append time (the broker's clock) of the last
  record that was needed. The start of the process is not in it. The Kafka Streams and Quix Streams jobs tell when
  they take the first event; for this project it is when its log says that it owns its partitions, just before it
  begins to read them. *events/s* is the median of {runs} runs, the contestants taking turns. *Second half* is the rate
  between half and all of the outputs: a JVM has warmed up by then.
- **CPU s** and **peak MiB** are those of the contestant's processes, start included, without the broker.
- **Kafka Streams** {kafka_streams}: `benchmarks/java`, one thread, default cache (10 MiB), at least once, default
  commit interval (30 s), the default JVM settings. It asks for a commit when no record came for 100 ms: otherwise the
  last outputs would stay in its cache until the interval ends, which would be waiting, not work.
- **Quix Streams** {quix}: `benchmarks/join/quix_job.py`, default settings, at least once.
- **This project**: `streams worker` with its default settings (changes coalesced for at most 50 ms).
"""

LATENCY = """
## Latency

{table}
{rate} webhooks per second for {seconds} s through `bridge serve` and `streams worker` (default settings, RocksDB):
rows, messages and status updates of 1,000 conversations. A state is readable when a consumer of `conversation-state`
has it. The bare records ({round_trips} per second, 500 bytes, acks=all) went over the same broker at the same time.
"""

RECOVERY = """
## Starting again, and memory

{table}
Seconds until the worker is ready and resident memory then; for the columns with a ratio, less those of a worker with
empty tables ({empty}). "Reading" is a bare consumer over the same changelogs.
"""


def page(
    *,
    machine: str,
    conversations: int,
    conversations_per_s: int,
    runs: int,
    results: Sequence[Result],
    left_out: Sequence[str],
    versions: dict[str, str],
    latencies: Sequence[Distribution],
    latency_seconds: int,
    recovered: Recovery | None,
) -> str:
    """Return the page."""
    text = PAGE.format(
        date=datetime.now(UTC).date().isoformat(),
        machine=machine,
        events=results[0].events,
        conversations=conversations,
        conversations_per_s=conversations_per_s,
        throughput=throughput(results).markdown(),
        left_out="".join(f"\nNot measured here: {reason}\n" for reason in left_out),
        runs=runs,
        kafka_streams=versions["kafka-streams"],
        quix=versions["quix"],
    )
    if latencies:
        text += LATENCY.format(
            table=latency(latencies).markdown(), rate=RATE, seconds=latency_seconds, round_trips=ROUND_TRIPS
        )
    if recovered is not None:
        empty = ", ".join(
            f"{store}: {start.seconds:.1f} s, {start.resident_bytes / 2**20:.0f} MiB"
            for store, start in recovered.empty.items()
        )
        text += RECOVERY.format(table=recovery(recovered).markdown(), empty=empty)
    return text
