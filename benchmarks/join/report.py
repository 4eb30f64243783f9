"""What was measured, as tables on a terminal and as a page of the documentation."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from statistics import median
from typing import Any

from figures.goals import Goal, table
from rich.console import Console
from rich.table import Table as RichTable
from support.machine import command

from join.latency import RATE, ROUND_TRIPS, Distribution, Use
from join.race import Result

#: Events per second that each store is to reach, for each of Kafka Streams with the same one.
SHARE = 1.5
#: Milliseconds from an accepted webhook to its state, 99 of 100: what changes are coalesced for (50), and 30.
LATENCY_MS = 80
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
        shown = RichTable(title=self.title, title_justify="left")
        for column in self.columns:
            shown.add_column(column, justify="right" if shown.columns else "left", no_wrap=not shown.columns)
        for row in self.rows:
            shown.add_row(*row)
        console.print(shown)

    def markdown(self) -> str:
        """Return it as Markdown, without the title."""
        lines = [self.columns, tuple("---" if not i else "--:" for i in range(len(self.columns))), *self.rows]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def throughput(results: Sequence[Result]) -> Sheet:
    """Return the table of the race: medians of all runs, and ratios of the medians."""
    by_key = _by_key(results)
    references = {key: _rate(by_key[key]) for key in REFERENCES if key in by_key}
    sheet = Sheet(
        "The join: events per second",
        "contestant",
        "runs",
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
            str(len(runs)),
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


def goals(results: Sequence[Result], distributions: Sequence[Distribution]) -> list[Goal]:
    """Return what was to be reached."""
    by_key = _by_key(results)
    found = []
    for store, words in (("memory", "in memory"), ("rocksdb", "RocksDB")):
        ours, theirs = (by_key.get(f"{who}-{store}") for who in ("ours", "kafka-streams"))
        if ours and theirs:
            share = _rate(ours) / _rate(theirs)
            found.append(Goal(f"{words}: rate beside Kafka Streams", share, at_least=SHARE, unit="x"))
            late = median(run.late_rate for run in ours) / median(run.late_rate for run in theirs)
            found.append(Goal(f"{words}: the same in the second half", late, at_least=SHARE, unit="x"))
    found += [
        Goal(f"{RATE} webhooks/s: p99 from accepted to state readable", each.p99, at_most=LATENCY_MS, unit="ms")
        for each in distributions[:1]
    ]
    return found


def figures(results: Sequence[Result], distributions: Sequence[Distribution], use: Use | None) -> dict[str, Any]:
    """Return what plots and the model of cost need: medians by contestant."""
    rows = []
    for key, runs in _by_key(results).items():
        cpu = median(run.cpu_seconds / run.events for run in runs)
        rows.append({"key": key, "name": runs[0].name, "per_second": _rate(runs), "cpu_s": cpu})
    latency = [asdict(each) for each in distributions]
    return {"rows": rows, "latency": latency, "use": None if use is None else asdict(use)}


def sizes(results: Sequence[Result]) -> str:
    """Return in a line what was measured."""
    return f"{results[0].events:,} events, {_runs(results)}" if results else "no race"


def _runs(results: Sequence[Result]) -> str:
    counts = [len(runs) for runs in _by_key(results).values()]
    fewest, most = min(counts), max(counts)
    return f"{most} runs" if fewest == most else f"{fewest} to {most} runs"


def _by_key(results: Sequence[Result]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.key, []).append(result)
    return found


PAGE = """\
# Benchmarks of the join

Written by `{command}` on {date}; `make bench-join` prints such tables.

**Machine**: {machine}. Broker, contestant and harness share it, so only
ratios say something about another machine.

**Input**: {events:,} events: {conversations:,} conversations x (1 row + 10 messages x (insert + 3 partial updates)),
in the order of their time: {conversations_per_s} conversations begin in each second of it, and the updates of a
message come within ten seconds of its insert, thousands of other events in between. They are in the topics before a
contestant starts, and are the same bytes for all.

## Throughput

{throughput}
{plots}{left_out}
- **The job** is the same for all: message table with merged status and `message-state`; re-keyed to the conversation;
  `conversation-state` with absolute counts, last message and first response; `status-changes` joined with the
  conversation; same Avro schemas, CloudEvents headers, one broker, four partitions. After each run every message
  state, every conversation state and every status change id is compared with what the workload must lead to; a run
  with a difference does not count. This project does more that no other does: it also remembers whose a message's
  external id is and which conversations an address has, which is a row and a record between its steps for each message,
  and two for each conversation.
- **Time** runs from the first event that the contestant takes to the append time (the broker's clock) of the last
  record that was needed. The start of the process is not in it. The Kafka Streams and Quix Streams jobs tell when
  they take the first event; for this project it is when its log says that it owns its partitions, just before it
  begins to read them. All figures are medians of so many *runs*, the contestants taking turns; two processes and
  Quix Streams run again if there is time. *Second half* is the rate between half and all of the outputs: a JVM has
  warmed up by then, and the fewer events there are, the more of its time is warming up. Kafka Streams keeps changes in
  its cache, so that its outputs come later than the input of which they are made: its second half is an upper bound.
- **CPU s** and **peak MiB** are those of the contestant's processes, start included, without the broker.
- **Kafka Streams** {kafka_streams}: `benchmarks/java`, one thread, default cache (10 MiB), at least once, default
  commit interval (30 s), the default JVM settings. It asks for a commit when no record came for 100 ms: otherwise the
  last outputs would stay in its cache until the interval ends, which would be waiting, not work. It writes the first
  versions of the schemas, which have fewer fields than what this project writes.
- **Quix Streams** {quix}: `benchmarks/join/quix_job.py`, default settings, at least once. `make bench` has no time
  for it: [below](#quix-streams).
- **This project**: `streams worker` with its default settings, but without compression, as Kafka Streams has none by
  default. Changes are coalesced for 50 ms, in a backlog for as long as a batch of 5,000 records takes.
"""

LATENCY = """
## Latency

{table}
{rate} webhooks per second for {seconds} s through `bridge serve` and `streams worker` (default settings but no
compression, RocksDB): rows, messages and status updates of 1,000 conversations. A state is readable when a consumer of
`conversation-state` has it. The bare records ({round_trips} per second, 500 bytes, acks=all) went over the same broker
at the same time.
"""

GOALS = """
## Goals

{table}
"""


def page(
    *,
    machine: str,
    plots: str,
    conversations: int,
    conversations_per_s: int,
    results: Sequence[Result],
    left_out: Sequence[str],
    versions: dict[str, str],
    latencies: Sequence[Distribution],
    latency_seconds: int,
) -> str:
    """Return the page."""
    text = PAGE.format(
        command=command(),
        date=datetime.now(UTC).date().isoformat(),
        machine=machine,
        plots=plots,
        events=results[0].events,
        conversations=conversations,
        conversations_per_s=conversations_per_s,
        throughput=throughput(results).markdown(),
        left_out="".join(f"\nNot measured here: {reason}\n" for reason in left_out),
        kafka_streams=versions["kafka-streams"],
        quix=versions["quix"],
    )
    if latencies:
        text += LATENCY.format(
            table=latency(latencies).markdown(), rate=RATE, seconds=latency_seconds, round_trips=ROUND_TRIPS
        )
    return text + GOALS.format(table=table(goals(results, latencies)))
