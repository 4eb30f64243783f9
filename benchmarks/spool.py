"""How fast events are kept while Kafka is away, and published when it is back: `make bench-spool`, about four minutes.

Beside Bento with its buffer in SQLite (`benchmarks/go/bento/spool.yaml`: an answer waits for its transaction), and
SQLite alone: the same bodies in WAL mode with `synchronous=FULL`, 64 a transaction, in a process that does nothing
else; then they are read and deleted, 1,000 at a time. In turns on one broker, which is stopped for each of them; 64
connections, each sends its next event when it has an answer. Medians. All share the machine: only ratios say something.
"""

import sqlite3
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient  # type: ignore[attr-defined]
from figures.budget import Budget
from figures.goals import Goal, table
from figures.results import Results
from ingress_bench import contestants, load, stage
from ingress_bench.contestants import Contestant, Running
from ingress_bench.stage import PARTITIONS, TOKEN
from support.missing import MissingError
from support.say import say
from support.topics import Offsets, ends

from openbsp.local.ports import free_ports
from openbsp.local.stack import LocalStack
from support import machine

CONNECTIONS = 64
_FIRST_S = 5
#: How long what is published afterwards is watched; Bento needs much longer for all of it.
_DRAINED_S = 15.0
#: Events taken for each that Bento takes, which is what somebody would use instead.
_SHARE = 1.0
#: Rows that go to the disk together when SQLite is measured alone: as many as there are connections.
_TOGETHER = CONNECTIONS
_BODY = Path(__file__).parents[1] / "examples" / "payloads" / "1-incoming-message-insert.json"
_PAGE = """\
# Benchmark of the spool

Written by `{command}` on {date}; `make bench-spool` prints such a table.

**Machine**: {machine}. Broker, registry, what is measured and the load generator share it, so only ratios say something
about another machine.

{table}

- Kafka is stopped. 64 connections send events for {seconds} seconds, each its next one when it has its answer; what
  happens in the five seconds before is not counted, the first events wait for Kafka. The bridge's answer says that the
  event is on the disk; Bento's, that SQLite has it: its buffer has `synchronous` off, so it waits for no fsync. Then
  Kafka comes back. The median of {rounds} rounds, in turns on one broker.
- **Published afterwards** is the rate from the first event in Kafka to the last one that had been taken, or to the end
  of the first {drained:g} seconds, by the broker's clock. An event counts once.
- **bridge** is `bridge serve` with everything on.
- **Bento** (`benchmarks/go/bento/spool.yaml`) has its buffer in SQLite, without the batches of its input which its
  documentation recommends for many events: an answer would wait for a batch.
- **SQLite alone** is a process that does nothing else: the same bodies in WAL mode with `synchronous=FULL`, {together}
  a transaction, then read and deleted 1,000 at a time. No HTTP, no Kafka.

{goals}
"""


@dataclass(frozen=True)
class Kept:
    """What a turn has shown: events per second taken and given back, the slowest in a hundred, processor time."""

    taken_per_s: float
    p99_s: float
    cpu_s: float
    drained_per_s: float


def main(
    *,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each; the table has the medians.")] = 5,
    seconds: Annotated[int, typer.Option(min=1, help="For how long events come in a turn.")] = 8,
    markdown: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the page of the documentation here.")
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Write goals and figures here, as JSON.")] = None,
    budget_s: Annotated[float, typer.Option(help="No more rounds than fit into so many seconds.")] = float("inf"),
) -> None:
    """Measure the spool. Everything runs on this machine; about four minutes."""
    budget = Budget(budget_s)
    described = machine.describe()
    found: dict[str, list[Kept]] = {}
    left_out: list[str] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        directory, stack = Path(name), LocalStack()
        running.callback(stack.stop)
        environment = stage.start(stack, ["bento"])
        done = 0
        for done in budget.rounds(rounds):
            competing, left_out = _contestants(stack.kafka, environment, directory / str(done))
            for topic, contestant in competing:
                say(f"{contestant.name}, round {done}")
                found.setdefault(contestant.name, []).append(_turn(contestant, stack, topic, directory, seconds))
            say(f"SQLite alone, round {done}")
            found.setdefault("SQLite alone", []).append(_alone(directory / f"alone-{done}.db", seconds))
    kept = {name: _middle(turns) for name, turns in found.items()}
    bento = contestants.NAMES["bento"]
    goals = []
    if bento in kept:
        share = kept["bridge"].taken_per_s / kept[bento].taken_per_s
        goals.append(Goal("events taken while Kafka is away, beside Bento", share, at_least=_SHARE, unit="x"))
    print(f"\n{described}\n\n{_table(kept)}\n\n{table(goals)}")
    figures = {"rows": [{"name": name, **asdict(each)} for name, each in kept.items()]}
    Results(described, f"{done} rounds of {seconds} s", goals, figures, left_out).write(results)
    if markdown is not None:
        today = datetime.now(UTC).date().isoformat()
        page = _PAGE.format(
            command=machine.command(),
            date=today,
            machine=described,
            rounds=done,
            seconds=seconds,
            table=_table(kept),
            together=_TOGETHER,
            drained=_DRAINED_S,
            goals=table(goals),
        )
        markdown.write_text(page, "utf-8")


def _contestants(
    servers: str, environment: dict[str, str], directory: Path
) -> tuple[list[tuple[str, Contestant]], list[str]]:
    directory.mkdir()
    ports = free_ports(2)
    own = environment | {"BRIDGE_SPOOL_DIR": str(directory / "spool")}
    found = [(stage.MESSAGES, contestants.bridge("bridge", ports[0], 1, own))]
    try:
        bento = contestants.bento(ports[1], servers, "bento", "spool.yaml")
        found.append(("bento", bento.using(SPOOL=str(directory / "bento.db"))))
    except MissingError as error:
        say(f"{contestants.NAMES['bento']} stays out: {error}")
        return found, [f"{contestants.NAMES['bento']}: {error}"]
    return found, []


def _turn(contestant: Contestant, stack: LocalStack, topic: str, directory: Path, seconds: int) -> Kept:
    running = Running(contestant, directory)
    try:
        load.wait_for(contestant.port, TOKEN)
        before = ends(AdminClient({"bootstrap.servers": stack.kafka}), [topic], PARTITIONS)
        stack.broker.stop()
        say("Kafka is stopped; the first events wait for it")
        first = load.closed_loop(contestant.port, TOKEN, CONNECTIONS, _FIRST_S)
        before_s = running.cpu_s()
        taken = load.closed_loop(contestant.port, TOKEN, CONNECTIONS, seconds)
        taken = taken.with_cpu(running.cpu_s() - before_s, seconds)
        stack.broker.start()
        say("Kafka is back")
        drained = _drained_per_s(stack.kafka, before, int(first.per_second * _FIRST_S + taken.per_second * seconds))
    finally:
        running.stop()
    return Kept(taken.per_second, taken.p99_s, taken.cpu_s, drained)


def _drained_per_s(servers: str, before: Offsets, taken: int) -> float:
    """Return how fast different events came into a topic after these ends, by the broker's clock.

    All, or what comes in _DRAINED_S. An event counts once.
    """
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "bench-spool"})
    consumer.assign([TopicPartition(*at, offset) for at, offset in before.items()])
    keys: set[bytes] = set()
    times: list[int] = []
    end = time.monotonic() + _DRAINED_S
    while len(keys) < taken and time.monotonic() < end:
        for record in consumer.consume(10_000, 1.0):
            key = record.key()
            if record.error() is not None or key is None:
                continue
            times.append(record.timestamp()[1])
            keys.add(key)
    consumer.close()
    say(f"{len(keys):,} of about {taken:,} events in {len(times):,} records")
    return len(keys) / max((max(times) - min(times)) / 1000, 0.001) if times else 0.0


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
