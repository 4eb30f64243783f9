"""How fast the ingress answers, beside other endpoints: `make bench-ingress`, about ten minutes.

A real broker and registry, acks=all, everything on. Closed loop: so many connections, each sends its next event when it
has an answer. Open loop: 200 events a second, whether answered or not. All are measured in turns, so that what else the
machine does hits all. Who cannot be had here (Go is missing) stays out, which is said.
"""

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from openbsp.local.ports import free_ports
from openbsp.local.stack import LocalStack

sys.path.insert(0, str(Path(__file__).parent))

from ingress_bench import contestants, load, report, stage
from ingress_bench.contestants import Contestant, Running
from ingress_bench.stage import TOKEN
from support.missing import MissingError
from support.say import say

from support import machine

CONNECTIONS = (1, 64, 256)


def main(
    *,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each; the table has the medians.")] = 5,
    seconds: Annotated[int, typer.Option(min=1, help="Length of a turn.")] = 5,
    only: Annotated[list[str] | None, typer.Option(help=f"Only these: {', '.join(contestants.NAMES)}.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the page of the documentation here.")] = None,
) -> None:
    """Measure the ingress beside other endpoints. Everything runs on this machine; about ten minutes."""
    keys = list(dict.fromkeys(["bridge", *(only or contestants.USUAL)]))
    if "traced" in keys and "nothing" not in keys:
        keys.append("nothing")  # which takes the spans
    if unknown := set(keys) - contestants.NAMES.keys():
        raise typer.BadParameter(f"unknown: {', '.join(sorted(unknown))}")
    described = machine.describe()
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        directory, stack = Path(name), LocalStack()
        running.callback(stack.stop)
        environment = stage.start(stack, ["minimal", "bento"])
        found = []
        for contestant in _contestants(keys, stack.kafka, environment, directory):
            found.append(Running(contestant, directory))
            running.callback(found[-1].stop)
        for one in found:
            load.wait_for(one.contestant.port, TOKEN)
        rows = {connections: _closed_loop(found, connections, rounds, seconds) for connections in CONNECTIONS}
        say("200 events a second")
        steady = asyncio.run(load.steady(found[0].contestant.port, TOKEN, per_second=200, seconds=10))
        floor_s = load.fsync_s(directory) + load.round_trip_s(stack.kafka, stage.MESSAGES)
    findings = report.Findings(described, load.generator(), rounds, rows, steady, floor_s)
    print(f"\n{described}; load generator: {load.generator()}\n\n{findings.tables()}\n\n{findings.verdicts()}")
    if markdown is not None:
        markdown.write_text(findings.page(datetime.now(UTC).date().isoformat()), "utf-8")


def _contestants(keys: list[str], servers: str, environment: dict[str, str], directory: Path) -> list[Contestant]:
    ports = dict(zip(keys, free_ports(len(keys)), strict=True))
    found = []
    for key in keys:
        try:
            own = environment | {"BRIDGE_SPOOL_DIR": f"{directory}/{key}"}
            found.append(_contestant(key, ports, servers, own))
        except MissingError as error:
            say(f"{contestants.NAMES[key]} stays out: {error}")
    return found


def _contestant(key: str, ports: Mapping[str, int], servers: str, environment: Mapping[str, str]) -> Contestant:
    port = ports[key]
    if key == "traced":
        return contestants.traced(port, f"http://127.0.0.1:{ports['nothing']}/webhooks", environment)
    if key == "minimal":
        return contestants.minimal(port, servers, key)
    if key == "bento":
        return contestants.bento(port, servers, key)
    if key == "nothing":
        return contestants.nothing(port)
    return contestants.bridge(key, port, 2 if key == "bridge-2" else 1, environment)


def _closed_loop(running: list[Running], connections: int, rounds: int, seconds: int) -> dict[str, load.Measured]:
    found: dict[str, list[load.Measured]] = {one.contestant.key: [] for one in running}
    for number in range(rounds + 1):
        for one in running:
            turn = "warm-up" if number == 0 else f"round {number}"
            say(f"{connections} connections, {one.contestant.name}, {turn}")
            before_s = one.cpu_s()
            measured = load.closed_loop(one.contestant.port, TOKEN, connections, seconds if number else 2)
            measured = measured.with_cpu(one.cpu_s() - before_s, seconds if number else 2)
            if number:
                found[one.contestant.key].append(measured)
    return {key: _middle(measured) for key, measured in found.items()}


def _middle(measured: list[load.Measured]) -> load.Measured:
    return load.Measured(
        statistics.median(each.per_second for each in measured),
        statistics.median(each.p50_s for each in measured),
        statistics.median(each.p99_s for each in measured),
        statistics.median(each.cpu_s for each in measured),
    )


if __name__ == "__main__":
    typer.run(main)
