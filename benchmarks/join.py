"""Measures the join: throughput beside Kafka Streams and Quix Streams, latency, recovery and memory.

The same input lies in the topics of a broker of the benchmark's own; each contestant in turn reads it and writes its
outputs, which are then compared with what must come out. How the time is taken: see docs/benchmarks-join.md, which
`--markdown` writes. Progress goes to standard error, tables to standard output.
"""

import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from join import latency, preparation, recovery, report
from join.cluster import Cluster
from join.contestants import HERE, JAVA, Contestant, KafkaStreams, Ours, QuixStreams
from join.race import NotDoneError, Result, run
from join.workload import BEGIN_PER_S, Workload
from rich.console import Console
from support.machine import describe
from support.say import say

from openbsp.local.errors import StartError
from openbsp.local.stack import LocalStack

CONVERSATIONS = 10_000
RECOVERED_MESSAGES = 1_000_000

_FILE_WIDTH = 140

Entry = Callable[[Cluster, Path, str], Contestant]

ENTRIES: dict[str, Entry] = {
    "ours-memory": lambda *place: Ours(*place, "memory"),
    "ours-rocksdb": lambda *place: Ours(*place, "rocksdb"),
    "ours-memory-2": lambda *place: Ours(*place, "memory", workers=2),
    "kafka-streams-memory": lambda *place: KafkaStreams(*place, "memory"),
    "kafka-streams-rocksdb": lambda *place: KafkaStreams(*place, "rocksdb"),
    "quix": QuixStreams,
}
PREPARATIONS = {"kafka-streams": preparation.java, "quix": preparation.quix}


def main(
    *,
    only: Annotated[
        str | None,
        typer.Option(help=f"Contestants, or the beginnings of their names, comma-separated: {list(ENTRIES)}."),
    ] = None,
    scale: Annotated[
        float, typer.Option(min=0.001, help="1 is 410,000 events, and 1,000,000 messages to recover.")
    ] = 1,
    runs: Annotated[int, typer.Option(min=1, help="How often each contestant runs; the median counts.")] = 3,
    seconds: Annotated[int, typer.Option(min=10, help="How long the latency is measured.")] = 60,
    skip_throughput: Annotated[bool, typer.Option("--skip-throughput", help="No race.")] = False,
    skip_latency: Annotated[bool, typer.Option("--skip-latency", help="No latency.")] = False,
    skip_recovery: Annotated[bool, typer.Option("--skip-recovery", help="No recovery.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Write the page of the documentation here.")] = None,
) -> None:
    """Measure the join. Everything runs on this machine: a broker, a registry, and one contestant at a time."""
    console = Console()
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    machine = describe()
    console.print(machine, highlight=False)
    entries, left_out = ({}, []) if skip_throughput else _entries(only)
    if markdown is not None and skip_throughput:
        raise typer.BadParameter("the page needs the race", param_hint="--markdown")
    results: list[Result] = []
    failures: list[str] = []
    latencies: list[latency.Distribution] = []
    recovered = None
    with tempfile.TemporaryDirectory(prefix="bench-join-") as scratch:
        if not skip_throughput:
            workload = Workload.generate(round(CONVERSATIONS * scale))
            results, failures = _race(entries, workload, runs, Path(scratch))
            left_out += failures
            report.throughput(results).show(console)
        if not skip_latency:
            with _cluster() as cluster:
                latencies = latency.measure(cluster, Path(scratch) / "latency", seconds)
            report.latency(latencies).show(console)
        if not skip_recovery:
            with _cluster() as cluster:
                messages = round(RECOVERED_MESSAGES * scale)
                recovered = recovery.measure(cluster, Path(scratch) / "recovery", messages)
            report.recovery(recovered).show(console)
    for reason in left_out:
        console.print(f"not measured: {reason}", markup=False, highlight=False)
    if markdown is not None:
        text = report.page(
            machine=machine,
            conversations=round(CONVERSATIONS * scale),
            conversations_per_s=BEGIN_PER_S,
            runs=runs,
            results=results,
            left_out=left_out,
            versions=_versions(),
            latencies=latencies,
            latency_seconds=seconds,
            recovered=recovered,
        )
        markdown.write_text(text, "utf-8")
    if failures:
        sys.exit(1)


def _entries(only: str | None) -> tuple[dict[str, Entry], list[str]]:
    """Return who can run, and why others that were wanted cannot."""
    wanted = [name.strip() for name in only.split(",")] if only is not None else [""]
    for name in wanted:
        if not any(key.startswith(name) for key in ENTRIES):
            raise typer.BadParameter(f"{name} is none of {', '.join(ENTRIES)}", param_hint="--only")
    entries = {key: entry for key, entry in ENTRIES.items() if key.startswith(tuple(wanted))}
    left_out = []
    for kind, prepare in PREPARATIONS.items():
        keys = [key for key in entries if key.startswith(kind)]
        if not keys:
            continue
        try:
            prepare()
        except preparation.MissingError as error:
            left_out.append(f"{kind}: {error}")
            say(f"left out: {left_out[-1]}")
            for key in keys:
                del entries[key]
    if not entries:
        sys.exit(1)
    return entries, left_out


def _race(entries: dict[str, Entry], workload: Workload, runs: int, scratch: Path) -> tuple[list[Result], list[str]]:
    """Return what was measured, in the order of the table, and which runs failed."""
    results = []
    failures = []
    with _cluster() as cluster:
        cluster.reset()
        say(f"writing {len(workload):,} events")
        cluster.fill(workload.events())
        for number in range(1, runs + 1):
            for key, entry in entries.items():
                say(f"run {number} of {runs}: {key}")
                group = f"{key}-{number}"
                try:
                    results.append(run(cluster, workload, entry(cluster, scratch / group, group)))
                except (NotDoneError, StartError) as error:
                    failures.append(f"{key}, run {number}: {error}")
                    say(failures[-1])
    return [result for key in entries for result in results if result.key == key], failures


@contextmanager
def _cluster() -> Iterator[Cluster]:
    # A group's first assignment waits for all members, as it does by Kafka's default.
    with LocalStack(kafka_properties={"group.initial.rebalance.delay.ms": 3000}) as stack:
        yield Cluster(stack.kafka, stack.registry)


def _versions() -> dict[str, str]:
    pom = (JAVA / "pom.xml").read_text("utf-8")
    requirements = (HERE / "requirements.txt").read_text("utf-8")
    kafka_streams = re.search(r"<artifactId>kafka-streams</artifactId>\s*<version>(.+?)</version>", pom)
    quix = re.search(r"^quixstreams==(\S+)", requirements, re.MULTILINE)
    assert kafka_streams is not None
    assert quix is not None
    return {"kafka-streams": kafka_streams[1], "quix": quix[1]}


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
