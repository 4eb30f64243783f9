"""How the join's cost grows with conversations, workers and partitions: `make bench-growth`, about eight minutes.

One broker on this machine. Starting from one worker, four partitions and the first number of conversations, each of the
three grows by itself. `--conversations 10000,1000000 --messages 1` takes half an hour and 10 GiB.
"""

import tempfile
from pathlib import Path
from typing import Annotated

import psutil
import typer
from figures.results import Results
from figures.section import put
from growth_bench.points import Growth, Point, Tables
from growth_bench.report import PLOTS, Report
from join.cluster import PARTITIONS, Cluster
from join.race import NotDoneError
from support.draw import draw, shown
from support.say import say

from openbsp.local.errors import StartError
from openbsp.local.stack import LocalStack
from support import machine


def main(
    *,
    conversations: Annotated[str, typer.Option(help="Numbers of them, comma-separated.")] = "10000,100000",
    workers: Annotated[str, typer.Option(help="Numbers of them besides one.")] = "2,4",
    messages: Annotated[
        int, typer.Option(min=1, help="Of each conversation. Few: more conversations in less time.")
    ] = 2,
    partitions: Annotated[str, typer.Option(help=f"Numbers of them besides {PARTITIONS}.")] = "1,16,64",
    markdown: Annotated[Path | None, typer.Option(help="Write into the page of the documentation here.")] = None,
    results: Annotated[Path | None, typer.Option(help="Write figures here, as JSON.")] = None,
) -> None:
    """Measure how cost grows. Everything runs on this machine."""
    described = machine.describe()
    first, *more = _numbers(conversations)
    wanted = [(first, 1, PARTITIONS)]
    wanted += [(first, count, PARTITIONS) for count in _numbers(workers)]
    wanted += [(first, 1, count) for count in _numbers(partitions)]
    wanted += [(count, 1, PARTITIONS) for count in more]
    points: list[Point] = []
    tables: list[Tables] = []
    failures: list[str] = []
    per_event = (0.0, 0.0)
    with (
        tempfile.TemporaryDirectory(prefix="bench-growth-") as directory,
        LocalStack(kafka_properties={"group.initial.rebalance.delay.ms": 3000}) as stack,
    ):
        growth = Growth(
            Cluster(stack.kafka, stack.registry), psutil.Process(stack.broker.pid), Path(directory), messages
        )
        for point in wanted:
            try:
                points.append(growth.point(*point))
                if point[1:] == (1, PARTITIONS):
                    per_event = per_event if tables else growth.bytes_per_event()
                    tables.append(growth.tables())
            except (NotDoneError, StartError) as error:
                failures.append(f"{point[0]:,} conversations, {point[1]} workers, {point[2]} partitions: {error}")
                say(failures[-1])
    report = Report(described, messages, points, tables, *per_event)
    print(f"\n{described}\n\n{report.lines()}")
    said = [failure.partition("\n")[0] for failure in failures]
    measured = Results(described, report.sizes(), [], report.figures(), said)
    measured.write(results)
    if markdown is not None:
        plots = markdown.parent / "plots"
        draw("growth", measured, plots)
        put(markdown, "growth", report.page(shown(plots, PLOTS), said))
    if failures:
        raise typer.Exit(1)
    say("done")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


if __name__ == "__main__":
    typer.run(main)
