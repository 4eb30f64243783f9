"""How fast events are kept while Kafka is away, and published when it is back: `make bench-spool`, about five minutes.

Beside Bento with its buffer in SQLite (`benchmarks/go/bento/spool.yaml`: an answer waits for its transaction), and
SQLite alone: the same bodies in WAL mode with `synchronous=FULL`, 64 a transaction, in a process that does nothing
else; then they are read and deleted, 1,000 at a time. In turns on one broker, which is stopped for each of them; 64
connections, each sends its next event when it has an answer. Medians. All share the machine: only ratios say something.
"""

import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka import Consumer, TopicPartition

from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.kafka.registry import Registry
from openbsp.kafka.topics import Topics
from openbsp.local.ports import free_ports
from openbsp.local.stack import LocalStack

sys.path.insert(0, str(Path(__file__).parent))

from ingress_bench import contestants, load
from ingress_bench.contestants import Contestant, Running
from support.missing import MissingError
from support.say import say
from support.topics import create

from support import machine

TOKEN = "token-of-the-benchmark"
CONNECTIONS = 64
PARTITIONS = 4
_READY_S = 300.0
_STILL_S = 3.0
#: Rows that go to the disk together when SQLite is measured alone: as many as there are connections.
_TOGETHER = CONNECTIONS
_BODY = Path(__file__).parents[1] / "examples" / "payloads" / "1-incoming-message-insert.json"


@dataclass(frozen=True)
class Kept:
    """What a turn has shown: events per second taken and given back, the slowest in a hundred, processor time."""

    taken_per_s: float
    p99_s: float
    cpu_s: float
    drained_per_s: float


def main(
    *,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each; the table has the medians.")] = 3,
    seconds: Annotated[int, typer.Option(min=1, help="For how long events come in a turn.")] = 10,
) -> None:
    """Measure the spool. Everything runs on this machine; about five minutes."""
    described = machine.describe()
    found: dict[str, list[Kept]] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        directory, stack = Path(name), LocalStack()
        running.callback(stack.stop)
        stack.start(_READY_S)
        topics = TopicSettings(partitions=PARTITIONS, replication_factor=1, min_insync_replicas=1)
        kafka = KafkaSettings(bootstrap_servers=stack.kafka)
        Topics(kafka, topics).apply()
        Registry(RegistrySettings(url=stack.registry), topics.prefix).register()
        create(stack.kafka, ["bento"], PARTITIONS)
        for number in range(rounds):
            for topic, contestant in _contestants(stack, directory / str(number)):
                say(f"{contestant.name}, round {number + 1}")
                found.setdefault(contestant.name, []).append(_turn(contestant, stack, topic, directory, seconds))
            say(f"SQLite alone, round {number + 1}")
            found.setdefault("SQLite alone", []).append(_alone(directory / f"alone-{number}.db", seconds))
    table = _table({name: _middle(turns) for name, turns in found.items()})
    print(f"\n{described}\n\n{table}")


def _contestants(stack: LocalStack, directory: Path) -> list[tuple[str, Contestant]]:
    directory.mkdir()
    ports = free_ports(2)
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka,
        "SCHEMA_REGISTRY_URL": stack.registry,
        "TOPIC_PARTITIONS": str(PARTITIONS),
        "TOPIC_REPLICATION_FACTOR": "1",
        "TOPIC_MIN_INSYNC_REPLICAS": "1",
        "BRIDGE_TOKENS": f"benchmark={TOKEN}",
        "BRIDGE_SPOOL_DIR": str(directory / "spool"),
    }
    found = [("openbsp.messages", contestants.bridge("bridge", ports[0], 1, environment))]
    try:
        bento = contestants.bento(ports[1], stack.kafka, "bento", "spool.yaml")
        found.append(("bento", bento.using(SPOOL=str(directory / "bento.db"))))
    except MissingError as error:
        say(f"{contestants.NAMES['bento']} stays out: {error}")
    return found


def _turn(contestant: Contestant, stack: LocalStack, topic: str, directory: Path, seconds: int) -> Kept:
    running = Running(contestant, directory)
    try:
        load.wait_for(contestant.port, TOKEN)
        stack.broker.stop()
        say("Kafka is stopped; the first events wait for it")
        load.closed_loop(contestant.port, TOKEN, CONNECTIONS, 5)
        before_s = running.cpu_s()
        taken = load.closed_loop(contestant.port, TOKEN, CONNECTIONS, seconds)
        taken = taken.with_cpu(running.cpu_s() - before_s, seconds)
        stack.broker.start()
        say("Kafka is back")
        drained = _drained_per_s(stack.kafka, topic)
    finally:
        running.stop()
    return Kept(taken.per_second, taken.p99_s, taken.cpu_s, drained)


def _drained_per_s(servers: str, topic: str) -> float:
    """Return how fast a topic grows from its first new record until it stands still."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "bench-spool"})

    def count() -> int:
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=30)[1] for n in range(PARTITIONS)]
        return sum(ends)

    first = last = count()
    began = moved = time.monotonic()
    while last == first or time.monotonic() - moved < _STILL_S:
        now, at = count(), time.monotonic()
        if now > last:
            if last == first:
                began = at
                first = now
            last, moved = now, at
        if at - began > _READY_S:
            raise TimeoutError(f"{topic} has not stood still for {_READY_S:g} s")
        time.sleep(0.05)
    consumer.close()
    return (last - first) / max(moved - began, 0.05)


def _alone(path: Path, seconds: int) -> Kept:
    """Write bodies to a table as a spool has to, an fsync for as many as there are connections, and remove them."""
    body = _BODY.read_bytes()
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE spool (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
    times, cpu_s = [], time.process_time()
    began = time.perf_counter()
    while (started := time.perf_counter()) - began < seconds:
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO spool (body) VALUES (?)", [(body,)] * _TOGETHER)
        database.execute("COMMIT")
        times.append(time.perf_counter() - started)
    written = len(times) * _TOGETHER
    cpu_s = time.process_time() - cpu_s
    taken_per_s = written / (time.perf_counter() - began)
    began = time.perf_counter()
    while rows := database.execute("SELECT id, body FROM spool ORDER BY id LIMIT 1000").fetchall():
        database.execute("DELETE FROM spool WHERE id <= ?", (rows[-1][0],))
    drained = written / (time.perf_counter() - began)
    database.close()
    return Kept(taken_per_s, sorted(times)[len(times) * 99 // 100], cpu_s / written, drained)


def _middle(turns: list[Kept]) -> Kept:
    return Kept(*(statistics.median(values) for values in zip(*map(astuple, turns), strict=True)))


def _table(found: dict[str, Kept]) -> str:
    lines = [
        "| | events/s taken | p99 | processor time an event | events/s published afterwards |",
        "| --- | --: | --: | --: | --: |",
    ]
    for name, kept in found.items():
        times = f"{kept.p99_s * 1000:.1f} ms | {kept.cpu_s * 1e6:.0f} us"
        lines.append(f"| {name} | {kept.taken_per_s:,.0f} | {times} | {kept.drained_per_s:,.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
