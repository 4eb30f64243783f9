"""How fast the ingress answers, beside an endpoint that does nothing: `make bench-ingress`, about three minutes.

A real broker and registry, acks=all, one process, everything on. Closed loop: so many connections, each sends its next
event when it has an answer. Open loop: 200 events a second, whether answered or not. Both sides are measured in turns,
so that what else the machine does hits both.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.kafka.registry import Registry
from openbsp.kafka.topics import Topics
from openbsp.local.ports import free_ports
from openbsp.local.stack import LocalStack

sys.path.insert(0, str(Path(__file__).parent))

from ingress_bench import load, report
from support.say import say

from support import machine

TOKEN = "token-of-the-benchmark"
CONNECTIONS = (1, 64, 256)
ROUNDS = 3
SECONDS = 5


def main(
    markdown: Annotated[Path | None, typer.Option(help="Write the page of the documentation here.")] = None,
) -> None:
    """Measure the ingress. Everything runs on this machine; about three minutes."""
    described = machine.describe()
    with LocalStack() as stack, tempfile.TemporaryDirectory() as directory:
        kafka = KafkaSettings(bootstrap_servers=stack.kafka)
        topics = TopicSettings(partitions=4, replication_factor=1, min_insync_replicas=1)
        Topics(kafka, topics).apply()
        Registry(RegistrySettings(url=stack.registry), topics.prefix).register()
        bridge_port, reference_port = free_ports(2)
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": stack.kafka,
            "SCHEMA_REGISTRY_URL": stack.registry,
            "TOPIC_PARTITIONS": "4",
            "TOPIC_REPLICATION_FACTOR": "1",
            "TOPIC_MIN_INSYNC_REPLICAS": "1",
            "BRIDGE_TOKENS": f"benchmark={TOKEN}",
            "BRIDGE_SPOOL_DIR": f"{directory}/spool",
            "BRIDGE_PORT": str(bridge_port),
        }
        commands = {
            "bridge": (bridge_port, [sys.executable, "-P", "-m", "bridge", "serve"]),
            "reference": (
                reference_port,
                [sys.executable, str(Path(__file__).parent / "ingress_bench" / "reference.py"), str(reference_port)],
            ),
        }
        with (Path(directory) / "log").open("wb") as log:
            processes = {
                name: subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=directory)
                for name, (_, command) in commands.items()
            }
            try:
                for port, _ in commands.values():
                    load.wait_for(port, TOKEN)
                rows = _closed_loop({name: port for name, (port, _) in commands.items()})
                say("200 events a second")
                steady = asyncio.run(load.steady(bridge_port, TOKEN, per_second=200, seconds=10))
                floor_s = load.fsync_s(Path(directory)) + load.round_trip_s(stack.kafka, f"{topics.prefix}messages")
            finally:
                for process in processes.values():
                    process.terminate()
                for process in processes.values():
                    process.wait(30)
    found = report.Findings(described, load.generator(), rows, steady, floor_s)
    print(f"\n{described}; load generator: {load.generator()}\n\n{found.tables()}\n\n{found.verdicts()}")
    if markdown is not None:
        markdown.write_text(found.page(datetime.now(UTC).date().isoformat()), "utf-8")


def _closed_loop(ports: dict[str, int]) -> dict[int, dict[str, load.Measured]]:
    rows = {}
    for connections in CONNECTIONS:
        found: dict[str, list[load.Measured]] = {name: [] for name in ports}
        for number in range(ROUNDS + 1):
            for name, port in ports.items():
                say(f"{connections} connections, {name}, {'warm-up' if number == 0 else f'round {number}'}")
                measured = load.closed_loop(port, TOKEN, connections, SECONDS if number else 2)
                if number:
                    found[name].append(measured)
        rows[connections] = {name: _middle(measured) for name, measured in found.items()}
    return rows


def _middle(measured: list[load.Measured]) -> load.Measured:
    return load.Measured(
        statistics.median(each.per_second for each in measured),
        statistics.median(each.p50_s for each in measured),
        statistics.median(each.p99_s for each in measured),
    )


if __name__ == "__main__":
    typer.run(main)
