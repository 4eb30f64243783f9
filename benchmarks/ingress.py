"""How fast the ingress answers, beside other endpoints: `make bench-ingress`, about six minutes.

A real broker and registry, acks=all, everything on. Closed loop: so many connections, each sends its next event when it
has an answer, all in turns, so that what else the machine does hits all. Open loop: 200 events a second, whether
answered or not. Who cannot be had here (Go is missing) stays out, which is said.
"""

import dataclasses
import statistics
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import psutil
import typer
from figures.budget import Budget
from figures.goals import table
from figures.results import Results
from ingress_bench import contestants, load, report, stage
from ingress_bench.contestants import Contestant, Running
from ingress_bench.stage import TOKEN
from support.closed_loop import generator
from support.draw import draw, shown
from support.missing import MissingError
from support.say import say

from openbsp.local.ports import free_ports
from openbsp.local.stack import LocalStack
from support import machine

CONNECTIONS = (1, 64, 256)
_WARM_UP_S = 2
_STEADY_S = 8
#: Who is sent a steady load, too: the bridge, what a receiver that waits for Kafka can reach, and the generator's part.
_STEADY = ("bridge", "minimal", "nothing")


def main(
    *,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each; the table has the medians.")] = 5,
    seconds: Annotated[int, typer.Option(min=1, help="Length of a turn.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help=f"Only these: {', '.join(contestants.NAMES)}.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the page of the documentation here.")] = None,
    results: Annotated[Path | None, typer.Option(help="Write goals and figures here, as JSON.")] = None,
    budget_s: Annotated[float, typer.Option(help="No more rounds than fit into so many seconds.")] = float("inf"),
) -> None:
    """Measure the ingress beside other endpoints. Everything runs on this machine; about six minutes."""
    budget = Budget(budget_s)
    keys = list(dict.fromkeys(["bridge", *(only or contestants.USUAL)]))
    if "traced" in keys and "nothing" not in keys:
        keys.append("nothing")  # which takes the spans
    if unknown := set(keys) - contestants.NAMES.keys():
        raise typer.BadParameter(f"unknown: {', '.join(sorted(unknown))}")
    described = machine.describe()
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        directory, stack = Path(name), LocalStack()
        running.callback(stack.stop)
        environment = stage.start(stack, ["minimal", "bento", "camel"])
        found = []
        competing, left_out = _contestants(keys, stack.kafka, environment, directory)
        for contestant in competing:
            found.append(Running(contestant, directory))
            running.callback(found[-1].stop)
        for one in found:
            load.wait_for(one.contestant.port, TOKEN)
        broker = psutil.Process(stack.broker.pid)
        _warm_up(found)
        turns: dict[int, dict[str, list[load.Measured]]] = {
            connections: {one.contestant.key: [] for one in found} for connections in CONNECTIONS
        }
        done = 0
        for done in budget.rounds(rounds, reserve_s=len(_STEADY) * _STEADY_S + 10):
            for connections, row in turns.items():
                for one in found:
                    say(f"round {done}: {connections} connections, {one.contestant.name}")
                    row[one.contestant.key].append(_turn(one, broker, connections, seconds))
        rows = {at: {key: _middle(measured) for key, measured in row.items()} for at, row in turns.items()}
        steady = _steady(found)
        floor_s, hurried_s = (
            load.fsync_s(directory, per_second) + load.round_trip_s(stack.kafka, stage.MESSAGES, per_second)
            for per_second in (200, None)
        )
    findings = report.Findings(described, generator(), done, seconds, rows, steady, floor_s, hurried_s)
    print(f"\n{described}; load generator: {generator()}\n\n{findings.tables()}\n\n{table(findings.goals())}")
    sizes = f"{done} rounds of {seconds} s at {', '.join(map(str, CONNECTIONS))} connections"
    measured = Results(described, sizes, findings.goals(), findings.figures(), left_out)
    measured.write(results)
    if markdown is not None:
        plots = markdown.parent / "plots"
        draw("ingress", measured, plots)
        page = findings.page(datetime.now(UTC).date().isoformat(), shown(plots, {"ingress": "Answers per second"}))
        markdown.write_text(page, "utf-8")


def _contestants(
    keys: list[str], servers: str, environment: dict[str, str], directory: Path
) -> tuple[list[Contestant], list[str]]:
    ports = dict(zip(keys, free_ports(len(keys)), strict=True))
    found, left_out = [], []
    for key in keys:
        try:
            own = environment | {"BRIDGE_SPOOL_DIR": f"{directory}/{key}"}
            found.append(_contestant(key, ports, servers, own))
        except MissingError as error:
            left_out.append(f"{contestants.NAMES[key]}: {error}")
            say(f"left out: {left_out[-1]}")
    return found, left_out


def _contestant(key: str, ports: Mapping[str, int], servers: str, environment: Mapping[str, str]) -> Contestant:
    port = ports[key]
    if key == "traced":
        return contestants.traced(port, f"http://127.0.0.1:{ports['nothing']}/webhooks", environment)
    if key == "minimal":
        return contestants.minimal(port, servers, key)
    if key == "bento":
        return contestants.bento(port, servers, key)
    if key == "camel":
        return contestants.camel(port, servers, key)
    if key == "nothing":
        return contestants.nothing(port)
    return contestants.bridge(key, port, 2 if key == "bridge-2" else 1, environment)


def _warm_up(running: list[Running]) -> None:
    for connections in CONNECTIONS:
        for one in running:
            say(f"warm-up: {connections} connections, {one.contestant.name}")
            load.closed_loop(one.contestant.port, TOKEN, connections, _WARM_UP_S)


def _turn(one: Running, broker: psutil.Process, connections: int, seconds: int) -> load.Measured:
    before_s, broker_s = one.cpu_s(), machine.cpu_s(broker)
    measured = load.closed_loop(one.contestant.port, TOKEN, connections, seconds)
    return measured.with_cpu(one.cpu_s() - before_s, seconds, machine.cpu_s(broker) - broker_s)


def _steady(running: list[Running]) -> dict[str, load.Measured]:
    found = {}
    for one in running:
        if one.contestant.key in _STEADY:
            say(f"200 events a second, {one.contestant.name}")
            found[one.contestant.key] = load.steady(one.contestant.port, TOKEN, per_second=200, seconds=_STEADY_S)
    return found


def _middle(measured: list[load.Measured]) -> load.Measured:
    return load.Measured(*(statistics.median(each) for each in zip(*map(dataclasses.astuple, measured), strict=True)))


if __name__ == "__main__":
    typer.run(main)
