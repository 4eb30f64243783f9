"""How the join's cost grows with conversations, workers and partitions: `make bench-growth`, about 17 minutes.

One broker on this machine. Workers and partitions grow with 10,000 conversations, starting from one worker and four
partitions. Conversations grow to a million with two workers: one message each, which is inserted and not updated, and
the row of one in ten. A million needs 10 GiB of disk and of memory.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Annotated, TypeVar

import psutil
import typer
from figures.budget import Budget, expected_s
from figures.results import Results
from figures.section import put
from growth_bench.points import Growth, Point, Tables, What
from growth_bench.report import PLOTS, Report
from join.cluster import PARTITIONS, Cluster
from join.race import GIVE_UP_S, NotDoneError
from support.draw import draw, shown
from support.say import say

from openbsp.local.errors import StartError
from openbsp.local.stack import LocalStack
from support import machine

_T = TypeVar("_T")


class _Steps:
    """Steps of growing sizes, of which each is left out if it would not fit into the time that is left."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._taken: list[tuple[float, float]] = []

    def take(self, what: str, size: float, step: Callable[[float], _T]) -> _T:
        """Do a step, which is given the time that it may take. Raises LeftOutError, or what the step raises."""
        needed_s = expected_s(self._taken, size)
        if needed_s > self._budget.left_s:
            raise LeftOutError(f"{what}: about {needed_s:.0f} s, and {self._budget.left_s:.0f} s were left")
        begin = perf_counter()
        done = step(min(GIVE_UP_S, self._budget.left_s))
        self._taken.append((size, perf_counter() - begin))
        return done


class LeftOutError(Exception):
    """There was no time for it; the message says what, and how much."""


def main(
    *,
    conversations: Annotated[
        str, typer.Option(help="Numbers of them, ascending, comma-separated.")
    ] = "10000,100000,1000000",
    conversation_workers: Annotated[int, typer.Option(min=1, help="Workers that join those.")] = 2,
    messages: Annotated[int, typer.Option(min=1, help="Messages of each of those.")] = 1,
    statuses: Annotated[
        int, typer.Option(min=1, max=4, help="Statuses that each of these reaches: its insert has the first.")
    ] = 1,
    row_of_each: Annotated[int, typer.Option(min=1, help="One in so many of these has its row.")] = 10,
    fixed: Annotated[
        int, typer.Option(min=1, help="Conversations that are joined by other numbers of workers and partitions.")
    ] = 10_000,
    workers: Annotated[str, typer.Option(help="Numbers of them besides one.")] = "2,4",
    partitions: Annotated[str, typer.Option(help=f"Numbers of them besides {PARTITIONS}.")] = "1,16,64",
    markdown: Annotated[Path | None, typer.Option(help="Write into the page of the documentation here.")] = None,
    results: Annotated[Path | None, typer.Option(help="Write figures here, as JSON.")] = None,
    budget_s: Annotated[
        float, typer.Option(help="Leave out numbers of conversations that would not fit into so many seconds.")
    ] = float("inf"),
) -> None:
    """Measure how cost grows. Everything runs on this machine."""
    budget = Budget(budget_s)
    described = machine.describe()
    base = What(conversations=fixed, workers=1, partitions=PARTITIONS)
    small = [base]
    small += [What(conversations=fixed, workers=count, partitions=PARTITIONS) for count in _numbers(workers)]
    small += [What(conversations=fixed, workers=1, partitions=count) for count in _numbers(partitions)]
    growing = [
        What(
            conversations=count,
            workers=conversation_workers,
            partitions=PARTITIONS,
            messages=messages,
            statuses=statuses,
            row_of_each=row_of_each,
        )
        for count in _numbers(conversations)
    ]
    points: list[Point] = []
    tables: list[Tables] = []
    failures: list[str] = []
    left_out: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-growth-") as directory,
        LocalStack(kafka_properties={"group.initial.rebalance.delay.ms": 3000}) as stack,
    ):
        growth = Growth(Cluster(stack.kafka, stack.registry), psutil.Process(stack.broker.pid), Path(directory))
        joins, starts = _Steps(budget), _Steps(budget)
        for what in [*small, *growing]:
            try:
                if what in small:
                    points.append(growth.point(what))
                else:
                    size = what.conversations
                    points.append(joins.take(str(what), size, partial(growth.point, what)))
                    again = f"starts over the tables of {size:,} conversations"
                    tables.append(starts.take(again, size, partial(growth.tables, what)))
            except LeftOutError as error:
                left_out.append(str(error))
                say(f"left out: {error}")
            except (NotDoneError, StartError) as error:
                failures.append(f"{what}: {error}")
                say(failures[-1])
    report = Report(described, points, tables)
    print(f"\n{described}\n\n{report.lines()}")
    left_out += [failure.partition("\n")[0] for failure in failures]
    measured = Results(described, report.sizes(), [], report.figures(), left_out)
    measured.write(results)
    if markdown is not None:
        plots = markdown.parent / "plots"
        draw("growth", measured, plots)
        put(markdown, "growth", report.page(shown(plots, PLOTS), left_out))
    if failures:
        raise typer.Exit(1)
    say("done")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


if __name__ == "__main__":
    typer.run(main)
