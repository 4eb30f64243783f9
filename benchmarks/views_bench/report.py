"""The tables of the benchmark, as Markdown, with the targets beside what was measured."""

from collections.abc import Iterator
from dataclasses import dataclass

from views_bench import cost, watching
from views_bench.clients import Measured
from views_bench.cost import Cost
from views_bench.reads import PAGE, Row
from views_bench.watching import Heard

SHARE = 0.5
PAGE_COST = 5
HEARD_S = 1.0
JOIN_SHARE = 0.8

_ABOUT = """# Benchmark of the views

Measured with `make bench-views` on {machine}. Load generator: {generator}. Only the ratios mean something elsewhere.

One worker (RocksDB) with {conversations} conversations of three events each, a bridge, a real broker and registry, all
on this machine. Three things are measured:

- **Reads**: `GET /conversations/{{id}}` of conversations at random, and a page of {page} filtered by organization and
  status, in turns with a Starlette endpoint on the same server that answers 200 and does nothing. Closed loop; medians
  of all rounds.
- **Streams**: so many clients, half of them watching the list of one of 100 organizations, half a conversation, while
  webhooks come to the bridge at a steady rate. The time is from sending the webhook to the event at each client.
- **The join's cost**: a bulk of messages is written at once, alone and while {gets} GETs and {pages} pages a second are
  asked for and {streams} streams are open, in turns. The rate is from the first write until all are in the tables.

"""


@dataclass(frozen=True)
class Report:
    """What was measured; None or empty: it was left out."""

    machine: str
    generator: str
    conversations: int
    rows: list[Row]
    heard: Heard | None
    cost: Cost | None

    def lines(self) -> Iterator[str]:
        """Yield the tables."""
        if self.rows:
            yield (
                "| connections | does nothing | p50 | p99 | GET by key | p50 | p99 | page of 50 | p50 | p99 "
                "| key / nothing | page cost |"
            )
            yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
            for row in self.rows:
                cells = " | ".join(_cells(each) for each in (row.nothing, row.by_key, row.page))
                yield f"| {row.connections} | {cells} | {row.share:.2f} | {row.page_cost:.1f} |"
            yield ""
        if self.heard is not None:
            heard = self.heard
            yield "| clients | webhooks/s | events heard | missing | streams lost | p50 | p99 | longest |"
            yield "|---|---|---|---|---|---|---|---|"
            yield (
                f"| {heard.clients} | {watching.RATE} | {heard.heard} | {heard.missing} | {heard.lost_streams} "
                f"| {_ms(heard.p50_s)} | {_ms(heard.p99_s)} | {_ms(heard.most_s)} |"
            )
            yield ""
        if self.cost is not None:
            found = self.cost
            yield "| messages at once | alone | with queries | ratio | queries answered |"
            yield "|---|---|---|---|---|"
            rates = f"{found.alone:.0f}/s | {found.asked:.0f}/s | {found.share:.2f}"
            yield f"| {found.messages} | {rates} | {found.answers} |"
            yield ""
        yield from (f"- {verdict}" for verdict in self._verdicts())

    def page(self) -> str:
        """Return the page of the documentation."""
        about = _ABOUT.format(
            machine=self.machine,
            generator=self.generator,
            conversations=self.conversations,
            page=PAGE,
            gets=cost.GETS,
            pages=cost.PAGES,
            streams=cost.STREAMS,
        )
        return about + "\n".join(self.lines()) + "\n"

    def _verdicts(self) -> Iterator[str]:
        for row in self.rows:
            yield _verdict(
                f"{row.connections} connections: share of the endpoint that does nothing", row.share, least=SHARE
            )
            yield _verdict(f"{row.connections} connections: page in GETs by key", row.page_cost, most=PAGE_COST)
        if self.heard is not None:
            yield _verdict("p99 from webhook to event in seconds", self.heard.p99_s, most=HEARD_S)
            yield _verdict("events that a client did not hear", self.heard.missing, most=0)
        if self.cost is not None:
            yield _verdict("share of its speed that the join keeps", self.cost.share, least=JOIN_SHARE)


def _verdict(what: str, value: float, *, least: float | None = None, most: float | None = None) -> str:
    met = (least is None or value >= least) and (most is None or value <= most)
    target = f"at least {least:g}" if least is not None else f"at most {most:g}"
    return f"{'met' if met else '**MISSED**'}: {what}: {value:.2f} (target: {target})"


def _cells(measured: Measured) -> str:
    return f"{measured.per_second:.0f}/s | {_ms(measured.p50_s)} | {_ms(measured.p99_s)}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
