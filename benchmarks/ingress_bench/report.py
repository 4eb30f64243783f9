"""The benchmark's table, as Markdown, with the targets beside what was measured."""

from dataclasses import dataclass

from ingress_bench.load import Measured

SHARE = 0.6
SLOWER = 3
FLOORS = 10


@dataclass(frozen=True)
class Findings:
    """Everything that was measured. `rows` has, for each number of connections, the bridge and the reference."""

    machine: str
    generator: str
    rows: dict[int, dict[str, Measured]]
    steady: Measured
    floor_s: float

    def tables(self) -> str:
        """Return the tables, as Markdown."""
        lines = [
            "| connections | bridge | p50 | p99 | does nothing | p50 | p99 | share | p99 ratio |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for connections, row in self.rows.items():
            share, slower = _ratios(row)
            cells = f"{_cells(row['bridge'])} | {_cells(row['reference'])}"
            lines.append(f"| {connections} | {cells} | {share:.2f} | {slower:.1f} |")
        lines += [
            "",
            f"200 events a second, open loop: p50 {_ms(self.steady.p50_s)}, p99 {_ms(self.steady.p99_s)}.",
            f"An fsync and a round trip to the broker: {_ms(self.floor_s)}; p99 is {self._floors():.1f} times that.",
        ]
        return "\n".join(lines)

    def verdicts(self) -> str:
        """Return the targets, each with what was measured."""
        lines = []
        for connections in (64, 256):
            share, slower = _ratios(self.rows[connections])
            lines.append(_verdict(f"{connections} connections: share of the reference", share, at_least=SHARE))
            lines.append(_verdict(f"{connections} connections: p99 beside the reference's", slower, at_most=SLOWER))
        lines.append(_verdict("200 a second: p99 beside fsync and round trip", self._floors(), at_most=FLOORS))
        return "\n".join(lines)

    def page(self, date: str) -> str:
        """Return the page of the documentation."""
        return _PAGE.format(
            date=date, machine=self.machine, generator=self.generator, tables=self.tables(), verdicts=self.verdicts()
        )

    def _floors(self) -> float:
        return self.steady.p99_s / self.floor_s


_PAGE = """\
# Benchmark of the ingress

Written by `python benchmarks/ingress.py --markdown docs/benchmarks-ingress.md` on {date}; `make bench-ingress` prints
the same tables.

**Machine**: {machine}. Broker, registry, bridge and load generator ({generator}) share it, so
only ratios say something about another machine.

{tables}

- **bridge** is `bridge serve` with one process and everything on: authentication, Avro, a real broker with `acks=all`
  and an idempotent producer, metrics, a log line for each request. Each answer waits for the broker's
  acknowledgement, and each event is another one.
- **does nothing** is a Starlette endpoint that answers 202, on the same server (uvicorn, uvloop, httptools). It shares
  the machine with the load generator alone; the bridge has the broker beside it as well.
- Closed loop: so many connections, each sends its next event when it has its answer; the median of three rounds, both
  sides in turns.

## Targets

```
{verdicts}
```
"""


def _ratios(row: dict[str, Measured]) -> tuple[float, float]:
    bridge, reference = row["bridge"], row["reference"]
    return bridge.per_second / reference.per_second, bridge.p99_s / reference.p99_s


def _verdict(what: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> str:
    met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    target = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}"
    return f"{'met   ' if met else 'MISSED'} {what}: {value:.2f} ({target})"


def _cells(measured: Measured) -> str:
    return f"{measured.per_second:.0f}/s | {_ms(measured.p50_s)} | {_ms(measured.p99_s)}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"
