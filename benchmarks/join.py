"""Measures the join: throughput beside Kafka Streams and Quix Streams, and latency. Recovery: growth.py.

The same input lies in the topics of a broker of the benchmark's own; each contestant in turn reads it and writes its
outputs, which are then compared with what must come out. How the time is taken: see docs/benchmarks-join.md, which
`--markdown` writes. Progress goes to standard error, tables to standard output.
"""

import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import psutil
import typer
from figures.budget import Budget
from figures.goals import table
from figures.results import Results
from figures.section import put
from join import latency, preparation, report
from join.cluster import Cluster
from join.contestants import HERE, JAVA, Contestant, KafkaStreams, Ours, QuixStreams
from join.race import GIVE_UP_S, NotDoneError, Result, run
from join.workload import BEGIN_PER_S, Workload
from rich.console import Console
from support.draw import draw, shown
from support.machine import describe
from support.say import say

from openbsp.local.errors import StartError
from openbsp.local.stack import LocalStack

CONVERSATIONS = 10_000
#: These run once, and again in what the rounds of the others leave: no goal is about them, and the last takes long.
RARELY = ("ours-memory-2", "quix")

#: For a run that begins late: something is measured of everyone.
_LEAST_S = 120.0

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
    scale: Annotated[float, typer.Option(min=0.001, help="1 is 410,000 events.")] = 1,
    runs: Annotated[
        int,
        typer.Option(min=1, help=f"How often each runs ({', '.join(RARELY)}: if there is time); the median counts."),
    ] = 3,
    seconds: Annotated[int, typer.Option(min=10, help="How long the latency is measured.")] = 60,
    skip_throughput: Annotated[bool, typer.Option("--skip-throughput", help="No race.")] = False,
    skip_latency: Annotated[bool, typer.Option("--skip-latency", help="No latency.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Write the page of the documentation here.")] = None,
    json: Annotated[Path | None, typer.Option("--results", help="Write goals and figures here, as JSON.")] = None,
    budget_s: Annotated[float, typer.Option(help="No more runs than fit into so many seconds.")] = float("inf"),
) -> None:
    """Measure the join. Everything runs on this machine: a broker, a registry, and one contestant at a time."""
    budget = Budget(budget_s)
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
    use: latency.Use | None = None
    with (
        tempfile.TemporaryDirectory(prefix="bench-join-") as scratch,
        # A group's first assignment waits for all members, as it does by Kafka's default.
        LocalStack(kafka_properties={"group.initial.rebalance.delay.ms": 3000}) as stack,
    ):
        cluster = Cluster(stack.kafka, stack.registry)
        if not skip_throughput:
            workload = Workload.generate(round(CONVERSATIONS * scale))
            results, failures = _race(
                cluster, entries, workload, Path(scratch), runs=runs, budget=budget, reserve_s=seconds + 40
            )
            left_out += failures
            report.throughput(results).show(console)
        if not skip_latency:
            try:
                broker = psutil.Process(stack.broker.pid)
                latencies, use = latency.measure(cluster, broker, Path(scratch) / "latency", seconds)
            except latency.NotThroughError as error:
                failures.append(f"latency: {error}")
                left_out.append(failures[-1])
            else:
                report.latency(latencies).show(console)
    goals = report.goals(results, latencies)
    print(table(goals))
    for reason in left_out:
        console.print(f"not measured: {reason}", markup=False, highlight=False)
    measured = Results(machine, report.sizes(results), goals, report.figures(results, latencies, use), left_out)
    measured.write(json)
    if markdown is not None and results:
        plots = markdown.parent / "plots"
        draw("join", measured, plots)
        text = report.page(
            machine=machine,
            plots=shown(plots, {"join": "Events per second"}),
            conversations=round(CONVERSATIONS * scale),
            conversations_per_s=BEGIN_PER_S,
            results=results,
            left_out=left_out,
            versions=_versions(),
            latencies=latencies,
            latency_seconds=seconds,
        )
        put(markdown, "join", text)
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


def _race(
    cluster: Cluster,
    entries: dict[str, Entry],
    workload: Workload,
    scratch: Path,
    *,
    runs: int,
    budget: Budget,
    reserve_s: float,
) -> tuple[list[Result], list[str]]:
    """Return what was measured, in the order of the table, and which runs failed."""
    results = []
    failures = []
    taken_s: dict[str, float] = {}

    def take(key: str, number: int) -> None:
        say(f"run {number}: {key}")
        group = f"{key}-{number}"
        begin = time.monotonic()
        try:
            give_up_s = min(GIVE_UP_S, max(_LEAST_S, budget.left_s))
            results.append(run(cluster, workload, entries[key](cluster, scratch / group, group), give_up_s))
        except (NotDoneError, StartError) as error:
            failures.append(f"{key}, run {number}: {error}")
            say(failures[-1])
        taken_s[key] = max(taken_s.get(key, 0.0), time.monotonic() - begin)

    cluster.reset()
    say(f"writing {len(workload):,} events")
    cluster.fill(workload.events())
    rarely = [key for key in RARELY if key in entries]
    for key in rarely:
        take(key, 1)
    if often := [key for key in entries if key not in RARELY]:
        for number in budget.rounds(runs, reserve_s):
            for key in often:
                take(key, number)
    for key in rarely:
        for number in range(2, runs + 1):
            if budget.left_s >= taken_s[key] + reserve_s:
                take(key, number)
    return [result for key in entries for result in results if result.key == key], failures


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
