"""The tables of the benchmark, as Markdown, with the targets beside what was measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from figures.goals import Goal, table
from support.machine import command

from views_bench import cost, watching
from views_bench.clients import Measured
from views_bench.cost import Cost
from views_bench.reads import PAGE, Row
from views_bench.watching import Heard

#: By connections: GETs by key for each request of the endpoint that does nothing.
SHARES = {64: 0.8}
PAGE_COST = 5
HEARD_S = 0.15
#: So many clients are to hear in HEARD_S.
CLIENTS = 5_000
JOIN_SHARE = 0.8

_ABOUT = """# Benchmark of the views

Written by `{command}` on {date}; `make bench-views` prints such tables.

**Machine**: {machine}. Load generator: {generator}. Only the ratios mean something elsewhere.

One worker (RocksDB) with {conversations} conversations of three events each, a bridge, a real broker and registry, all
on this machine. Three things are measured:

- **Reads**: `GET /conversations/{{id}}` of conversations at random, and a page of {page} filtered by organization and
  status, in turns with a Starlette endpoint on the same server that answers 200 and does nothing. Closed loop; medians
  of the rounds. The worker keeps 30,000 rendered conversations, so {kept} of the GETs are answered from there; each
  page is another one, made of rendered conversations.
- **Streams**: so many clients, half of them watching the list of one of 100 organizations, half a conversation, while
  webhooks come to the bridge at a steady rate. The time is from sending the webhook to the event at each client. Memory
  is what the worker grew by when all streams were open, for each of them. `STREAMS_EVENT_STREAMS` and
  `STREAMS_CONNECTIONS` allow as many.
- **The join's cost**: a bulk of messages is written at once, alone and while {gets} GETs and {pages} pages a second are
  asked for and {streams} streams are open, in turns; medians of the rounds. The rate is from the first write until all
  are in the tables, those of conversations too.

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
                "| connections | rounds | does nothing | p50 | p99 | GET by key | p50 | p99 | page of 50 | p50 | p99 "
                "| key / nothing | page cost |"
            )
            yield f"|{'---|' * 13}"
            for row in self.rows:
                cells = " | ".join(_cells(each) for each in (row.nothing, row.by_key, row.page))
                yield f"| {row.connections} | {row.rounds} | {cells} | {row.share:.2f} | {row.page_cost:.1f} |"
            yield ""
        if self.heard is not None:
            heard = self.heard
            yield "| clients | webhooks/s | events heard | missing | streams lost | p50 | p99 | longest | KiB each |"
            yield "|---|---|---|---|---|---|---|---|---|"
            yield (
                f"| {heard.clients} | {watching.RATE} | {heard.heard} | {heard.missing} | {heard.lost_streams} "
                f"| {_ms(heard.p50_s)} | {_ms(heard.p99_s)} | {_ms(heard.most_s)} "
                f"| {heard.bytes_per_stream / 1024:.0f} |"
            )
            yield ""
        if self.cost is not None:
            found = self.cost
            yield "| messages at once | rounds | alone | with queries | ratio | queries answered a second |"
            yield "|---|---|---|---|---|---|"
            rates = f"{found.alone:.0f}/s | {found.asked:.0f}/s | {found.share:.2f}"
            yield f"| {found.messages} | {found.rounds} | {rates} | {found.answers_per_s:.0f} |"
            yield ""
        yield table(self.goals())

    def sizes(self) -> str:
        """Return in a line what was measured."""
        streams = "" if self.heard is None else f", {self.heard.clients:,} streams"
        reads = f", {self.rows[0].rounds} rounds of reads" if self.rows else ""
        bulks = f", {self.cost.rounds} of bulks" if self.cost else ""
        return f"{self.conversations:,} conversations{streams}{reads}{bulks}"

    def figures(self) -> dict[str, Any]:
        """Return what the summary needs."""
        return {} if self.heard is None else {"bytes_per_stream": self.heard.bytes_per_stream}

    def page(self) -> str:
        """Return the page of the documentation."""
        about = _ABOUT.format(
            command=command(),
            date=datetime.now(UTC).date().isoformat(),
            machine=self.machine,
            generator=self.generator,
            conversations=self.conversations,
            page=PAGE,
            kept=f"{min(1, 30_000 / self.conversations):.0%}",
            gets=cost.GETS,
            pages=cost.PAGES,
            streams=cost.STREAMS,
        )
        return about + "\n".join(self.lines()) + "\n"

    def goals(self) -> Iterator[Goal]:
        """Yield what was to be reached."""
        for row in self.rows:
            if row.connections in SHARES:
                what = f"{row.connections} connections: GETs by key beside an endpoint that does nothing"
                yield Goal(what, row.share, at_least=SHARES[row.connections], unit="x")
            yield Goal(
                f"{row.connections} connections: a page of {PAGE} costs",
                row.page_cost,
                at_most=PAGE_COST,
                unit="GETs by key",
            )
        if self.heard is not None:
            yield Goal("clients that watch", self.heard.clients - self.heard.lost_streams, at_least=CLIENTS)
            yield Goal(
                f"{watching.RATE} webhooks/s: p99 to each client's event", self.heard.p99_s, at_most=HEARD_S, unit="s"
            )
            yield Goal("events that a client did not hear", self.heard.missing, at_most=0)
        if self.cost is not None:
            yield Goal(
                "speed that the join keeps while the views are asked", self.cost.share, at_least=JOIN_SHARE, unit="x"
            )


def _cells(measured: Measured) -> str:
    return f"{measured.per_second:.0f}/s | {_ms(measured.p50_s)} | {_ms(measured.p99_s)}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
