"""The benchmark's table, as Markdown, with the targets beside what was measured."""

from dataclasses import asdict, dataclass
from typing import Any

from figures.goals import Goal, table
from support.machine import command

from ingress_bench.contestants import NAMES
from ingress_bench.load import Measured

#: What the bridge is to reach beside others, at 64 and at 256 connections: its rate, divided by theirs.
SHARES = {"bento": 1.0, "minimal": 0.6}
#: Times an fsync and a round trip to the broker, which the slowest answer in a hundred may take at 200 events a second.
FLOORS = 5


@dataclass(frozen=True)
class Findings:
    """Everything that was measured. `rows` has, for each number of connections, each contestant by its key."""

    machine: str
    generator: str
    rounds: int
    seconds: int
    rows: dict[int, dict[str, Measured]]
    #: Answers at 200 events a second, by contestant.
    steady: dict[str, Measured]
    #: An fsync and a round trip to the broker: as many as the events a second, and one right after the other.
    floor_s: float
    hurried_s: float

    def tables(self) -> str:
        """Return the tables, as Markdown."""
        lines = [
            "| connections | endpoint | answers/s | p50 | p99 | processor time an answer | bridge's rate to it |",
            "| --: | --- | --: | --: | --: | --: | --: |",
        ]
        for connections, row in self.rows.items():
            for key, measured in row.items():
                share = row["bridge"].per_second / measured.per_second
                times = f"{_ms(measured.p50_s)} | {_ms(measured.p99_s)} | {measured.cpu_s * 1e6:.0f} us"
                lines.append(f"| {connections} | {NAMES[key]} | {measured.per_second:,.0f} | {times} | {share:.2f} |")
        lines += ["", "| 200 events a second, open loop | p50 | p99 |", "| --- | --: | --: |"]
        lines += [
            f"| {NAMES[key]} | {_ms(steady.p50_s)} | {_ms(steady.p99_s)} |" for key, steady in self.steady.items()
        ]
        lines += [
            "",
            "One run of each. An fsync and a round trip to the broker at that rate, each by itself:",
            f"{_ms(self.floor_s)} (medians); the bridge's p99 is {self._floors():.1f} times that. One after the other",
            f"they take {_ms(self.hurried_s)}: processors that wait in between are slower, for the events as well.",
        ]
        return "\n".join(lines)

    def goals(self) -> list[Goal]:
        """Return what was to be reached."""
        found = []
        for connections in (64, 256):
            row = self.rows[connections]
            for key, share in SHARES.items():
                if key in row:
                    reached = row["bridge"].per_second / row[key].per_second
                    what = f"{connections} connections: rate beside {NAMES[key]}"
                    found.append(Goal(what, reached, at_least=share, unit="x"))
        what = "200 a second: p99 beside fsync and round trip to the broker"
        return [*found, Goal(what, self._floors(), at_most=FLOORS, unit="x")]

    def figures(self) -> dict[str, Any]:
        """Return what plots and the model of cost need: everything by connections and contestant."""
        return {
            "rows": [
                {"connections": connections, "key": key, "name": NAMES[key], **asdict(measured)}
                for connections, row in self.rows.items()
                for key, measured in row.items()
            ]
        }

    def page(self, date: str, plots: str) -> str:
        """Return the page of the documentation."""
        return _PAGE.format(
            date=date,
            plots=plots,
            machine=self.machine,
            generator=self.generator,
            rounds=self.rounds,
            seconds=self.seconds,
            command=command(),
            tables=self.tables(),
            cost=_COST,
            goals=table(self.goals()),
        )

    def _floors(self) -> float:
        return self.steady["bridge"].p99_s / self.floor_s


#: Measured apart from the benchmark, which sees endpoints from outside.
_COST = """\
## Where a request's time goes

Microseconds of processor time for each webhook at 256 connections, before and after
[known heads](decisions/0190-known-heads.md) (2026-11-26, one worker, both in turns on one broker, other work on the
machine: load average 6). Steps of the event loop's thread: samples of its stack each millisecond of processor time, so
a system call counts for the line that made it.

| | before | after |
| --- | --: | --: |
| HTTP: read, parse the head | 34 | 10 |
| answer: receipt, bytes, send, timer of the idle connection | 19 | 13 |
| Avro: row to fields to bytes, headers of the record | 14 | 13 |
| delivery report | 11 | 10 |
| JSON: parse, check, canonical text | 9 | 7 |
| admit, take | 8 | 2 |
| log line, metrics | 7 | 4 |
| produce | 6 | 4 |
| memory, deadline | 5 | 4 |
| instants | 4 | 4 |
| event loop | 3 | 2 |
| token | 3 | 1 |
| event id | 2 | 3 |
| **the event loop's thread** | **126** | **77** |
| the log's thread | 2 | 2 |
| librdkafka's threads | 15 | 11 |
| **the worker process** | **142** | **91** |
| broker | 41 | 24 |

The broker's share falls with the rate: batches are larger then. The same at other numbers of connections, medians of
five, in turns:

| connections | rate before | after | worker's time before | after | the event loop's thread | librdkafka | broker |
| --: | --: | --: | --: | --: | --: | --: | --: |
| 1 | 406 | 436 | 575 us | 521 us | 420, 375 us | 152, 157 us | 656, 658 us |
| 64 | 2,475 | 3,448 | 175 us | 127 us | 142, 100 us | 33, 24 us | 83, 72 us |
| 256 | 3,281 | 4,597 | 171 us | 118 us | 152, 100 us | 17, 17 us | 45, 37 us |
"""

_PAGE = """\
# Benchmark of the ingress

Written by `{command}` on {date}; `make bench-ingress` prints such tables.

**Machine**: {machine}. Broker, registry, all endpoints and the load generator ({generator}) share it, so
only ratios say something about another machine.

{tables}

{plots}- **bridge** is `bridge serve` with everything on: authentication, Avro, a real broker with `acks=all` and an
  idempotent producer, metrics, a log line for each request. Each answer waits for the broker's acknowledgement, and
  each event is another one. With two processes, each takes what comes to it.
- **minimal (Go)** (`benchmarks/go/minimal`) reads the request, produces its body under the row's id (acks=all,
  idempotent) and answers when the broker has acknowledged it, on all processors: what a receiver that waits for Kafka
  can reach.
- **Bento** (`benchmarks/go/bento`) is what somebody would use instead: `http_server` to `kafka_franz`, acks=all,
  idempotent, the row's id as the key, the JSON as it came.
- **Apache Camel** (`benchmarks/camel`) is a peer on a JVM: a route from `netty-http` to `kafka`, acks=all, idempotent,
  the row's id as the key, the JSON as it came, the default JVM settings.
- **does nothing** is a Starlette endpoint that answers 202, on the same server as the bridge (uvicorn, uvloop,
  httptools).
- None has a setting of compression of its own: the bridge takes gzip, Bento snappy, minimal and Camel nothing.
- Closed loop: so many connections, each sends its next event when it has its answer; the median of {rounds} rounds
  of {seconds} s, all in turns. Processor time is that of the endpoint's processes, without broker and load generator.
- Open loop: an event every 5 ms, answered or not; a time counts from when the event was due. What *does nothing* takes
  is the generator's and the server's own part.

{cost}
## Goals

{goals}
"""


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"
