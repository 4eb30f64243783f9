"""How fast the views answer and tell, and what that costs the join: `make bench-views`, about five minutes.

A real broker, registry, bridge and one worker with a full table, all on this machine. See docs/benchmarks-views.md,
which `--markdown` writes. Progress goes to standard error, tables to standard output.
"""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from figures.budget import Budget
from figures.results import Results
from join.cluster import Cluster
from support.closed_loop import generator
from support.say import say
from views_bench import cost, reads, watching
from views_bench.report import Report
from views_bench.stage import open_stage
from views_bench.tables import Conversations

from openbsp.local.stack import LocalStack
from support import descriptors, machine

#: What comes after the reads takes about so long.
_AFTER_READS_S = 100.0


def main(
    *,
    conversations: Annotated[int, typer.Option(min=1_000, help="Conversations in the table.")] = 100_000,
    connections: Annotated[str, typer.Option(help="Connections of the closed loop, comma-separated.")] = "1,64",
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is measured; medians count.")] = 5,
    seconds: Annotated[int, typer.Option(min=1, help="How long each round of reads takes.")] = 5,
    watchers: Annotated[int, typer.Option(min=2, help="Clients that watch.")] = 5_000,
    watch_seconds: Annotated[int, typer.Option(min=2, help="How long they do.")] = 30,
    messages: Annotated[int, typer.Option(min=1_000, help="Messages in each bulk for the join.")] = 30_000,
    skip_reads: Annotated[bool, typer.Option("--skip-reads", help="No reads.")] = False,
    skip_streams: Annotated[bool, typer.Option("--skip-streams", help="No streams.")] = False,
    skip_cost: Annotated[bool, typer.Option("--skip-cost", help="Not what queries cost the join.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Write the page of the documentation here.")] = None,
    results: Annotated[Path | None, typer.Option(help="Write goals and figures here, as JSON.")] = None,
    budget_s: Annotated[float, typer.Option(help="No more rounds than fit into so many seconds.")] = float("inf"),
) -> None:
    """Measure the views."""
    budget = Budget(budget_s)
    if not skip_streams:
        descriptors.at_least(watchers + 1_000)
    described = machine.describe()
    table = Conversations.make(conversations)
    with (
        LocalStack() as local,
        tempfile.TemporaryDirectory(prefix="bench-views-") as directory,
        open_stage(Cluster(local.kafka, local.registry), table, Path(directory), watchers + cost.STREAMS) as stage,
    ):
        counts = tuple(int(count) for count in connections.split(","))
        rows = (
            []
            if skip_reads
            else reads.measure(stage, table, counts, budget.rounds(rounds, reserve_s=_AFTER_READS_S), seconds)
        )
        heard = None if skip_streams else watching.measure(stage, table, watchers, watch_seconds)
        found = None if skip_cost else cost.measure(stage, table, messages, budget.rounds(rounds))
    report = Report(described, generator(), conversations, rows, heard, found)
    print("\n".join([described, "", *report.lines()]))
    Results(described, report.sizes(), list(report.goals()), report.figures()).write(results)
    if markdown is not None:
        markdown.write_text(report.page(), "utf-8")
    say("done")


if __name__ == "__main__":
    typer.run(main)
