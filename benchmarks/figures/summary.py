"""All goals on one page of the documentation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figures import model
from figures.goals import marked
from figures.results import Results

_HEAD = """\
# All benchmarks

Written by `make bench` ({command}), which measures all of it. The pages say how: [ingress](benchmarks-ingress.md),
[spool](benchmarks-spool.md), [join](benchmarks-join.md), [views](benchmarks-views.md),
[restarts](benchmarks-restarts.md), [growth](benchmarks-growth.md). Broker, load and what is measured share one machine,
so only ratios say something about another one.

"""

_NOT_MEASURED = """
## What was not measured

- **Growth** to 1,000,000 conversations with more than a message each and the row of one in ten, or with other numbers
  of workers and partitions than its page shows: those grow with 10,000 conversations. 16 partitions are left to
  `make bench-growth`. What is said of a cluster is computed from these points.
- **Medians of five** are those of parts that have so many rounds or runs above: five, or what fits into a part's share
  of the time. Growth and restarts have one of each: a few percent between two of those say nothing.
- **Python 3.14** could not be had: 3.13.0 and two builds of 3.11 were compared ([0190](decisions/0190-known-heads.md)).
- **Strimzi's HTTP bridge** beside the ingress: it is not among the artifacts that Maven finds. Apache Camel is the
  endpoint on a JVM.
"""


def page(command: str, results: Mapping[str, Results], failed: Sequence[str], plots: Path) -> str:
    """Return the page; plots that are in the directory are shown."""
    text = _HEAD.format(command=command)
    machines = dict.fromkeys(each.machine for each in results.values())
    text += "".join(f"**Machine**: {machine}.\n\n" for machine in list(machines)[:1])
    text += "| part | measured on | sizes |\n| --- | --- | --- |\n"
    text += "".join(
        f"| [{part}](benchmarks-{part}.md) | {each.date} | {each.sizes} |\n" for part, each in results.items()
    )
    text += "".join(f"\nFailed, wholly or in part: {part}.\n" for part in failed)
    text += "".join(f"\nLeft out of {part}: {why}\n" for part, each in results.items() for why in each.left_out)
    text += "\n## Goals\n\n| part | goal | target | measured | |\n| --- | --- | --- | --: | --- |\n"
    text += "".join(
        f"| {part} | {goal.what} | {goal.target} | {goal.measured} | {marked(goal)} |\n"
        for part, each in results.items()
        for goal in each.goals
    )
    text += _costs({part: each.figures for part, each in results.items()})
    text += _NOT_MEASURED
    for part in results:
        text += "".join(f"\n![{plot.stem}](plots/{plot.name})\n" for plot in sorted(plots.glob(f"{part}*.svg")))
    return text


def _costs(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what it costs; nothing if a part that it is computed from failed or is missing."""
    ingress, join, growth = (figures.get(part, {}) for part in ("ingress", "join", "growth"))
    use = join.get("use")
    if not (model.bridges(ingress) and model.inserts(growth) and use):
        return ""
    return "\n" + model.page(ingress, growth, use)


def closing(results: Mapping[str, Results], failed: Sequence[str]) -> str:
    """Return the goals as they are printed at the end, and what failed."""
    rows = [
        (goal.verdict, part, goal.what, goal.measured, goal.target)
        for part, each in results.items()
        for goal in each.goals
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) for row in rows
    ]
    missed = sum(row[0] != "met" for row in rows)
    lines += [f"left out of {part}: {why}" for part, each in results.items() for why in each.left_out]
    lines += [f"{len(rows) - missed} goals met, {missed} missed"]
    lines += [f"FAILED: {part}" for part in failed]
    return "\n".join(lines)
