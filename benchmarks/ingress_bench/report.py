"""The benchmark's table, as Markdown, with the targets beside what was measured."""

from ingress_bench.load import Measured

SHARE = 0.6
SLOWER = 3
FLOORS = 10


def show(machine: str, generator: str, rows: dict[int, dict[str, Measured]], steady: Measured, floor_s: float) -> None:
    """Print everything."""
    print(f"\n{machine}; load generator: {generator}\n")
    print("| connections | bridge | p50 | p99 | reference | p50 | p99 | ratio | p99 ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    for connections, row in rows.items():
        share, slower = _ratios(row)
        cells = f"{_cells(row['bridge'])} | {_cells(row['reference'])}"
        print(f"| {connections} | {cells} | {share:.2f} | {slower:.1f} |")
    ratio = steady.p99_s / floor_s
    print(
        f"\n200 events a second: p50 {_ms(steady.p50_s)}, p99 {_ms(steady.p99_s)}; an fsync and a round trip to the"
        f" broker: {_ms(floor_s)}; p99 is {ratio:.1f} times that.\n"
    )
    for connections in (64, 256):
        share, slower = _ratios(rows[connections])
        _verdict(f"{connections} connections: share of the reference", share, at_least=SHARE)
        _verdict(f"{connections} connections: p99 beside the reference's", slower, at_most=SLOWER)
    _verdict("200 a second: p99 beside fsync and round trip", ratio, at_most=FLOORS)


def _ratios(row: dict[str, Measured]) -> tuple[float, float]:
    bridge, reference = row["bridge"], row["reference"]
    return bridge.per_second / reference.per_second, bridge.p99_s / reference.p99_s


def _verdict(what: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> None:
    met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    target = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}"
    print(f"{'met   ' if met else 'MISSED'} {what}: {value:.2f} ({target})")


def _cells(measured: Measured) -> str:
    return f"{measured.per_second:.0f}/s | {_ms(measured.p50_s)} | {_ms(measured.p99_s)}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"
