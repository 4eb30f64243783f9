"""GET by key and a page of a filtered list, in turns with the endpoint that does nothing."""

import itertools
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from support.say import say

from support.parts import TOKEN
from views_bench import clients
from views_bench.clients import Measured
from views_bench.stage import Stage
from views_bench.tables import ORGANIZATIONS, Conversations

PAGE = 50
_PATHS = 20_000
_DRAWN = 200_000
#: Before all that is in the table.
_SINCE = "2020-01-01T00:00:00"
_WARM_UP_S = 1


@dataclass(frozen=True)
class Row:
    """What was measured at so many connections: medians of the rounds."""

    connections: int
    rounds: int
    nothing: Measured
    by_key: Measured
    page: Measured

    @property
    def share(self) -> float:
        """Requests by key for each request of the endpoint that does nothing."""
        return self.by_key.per_second / self.nothing.per_second

    @property
    def page_cost(self) -> float:
        """How many requests by key a page costs."""
        return self.by_key.per_second / self.page.per_second


def measure(
    stage: Stage, conversations: Conversations, connections: tuple[int, ...], rounds: Iterable[int], seconds: float
) -> list[Row]:
    """Measure each in turn, in each of the rounds after a warm-up; medians count."""
    random = Random(9)
    keys = [f"/conversations/{name}" for name in random.choices(conversations.ids, k=_DRAWN)]
    statuses = ("open", "closed")
    # Trap: a page that was asked for before is kept by the worker until one of its conversations changes, and nothing
    # changes here. No two of these are alike, though they have the same conversations, and they are asked for in turn.
    pages = [
        f"/conversations?organization_id=organization-{random.randrange(ORGANIZATIONS)}"
        f"&status={random.choice(statuses)}&limit={PAGE}&updated_since={_SINCE}.{number:06}Z"
        for number in range(_PATHS)
    ]
    contestants = {
        "nothing": (stage.reference_port, keys),
        "by_key": (stage.views_port, keys),
        "page": (stage.views_port, pages),
    }
    found: dict[int, dict[str, list[Measured]]] = {count: {name: [] for name in contestants} for count in connections}
    for number in itertools.chain([0], rounds):
        for count, row in found.items():
            for name, (port, paths) in contestants.items():
                say(f"{count} connections, {name}, {f'round {number}' if number else 'warm-up'}")
                # Others each time: what the worker keeps would be those that were asked for before.
                first = random.randrange(len(paths))
                asked = paths[first:] + paths[:first]
                measured = clients.closed_loop(port, TOKEN, asked, count, seconds if number else _WARM_UP_S)
                if number:
                    row[name].append(measured)
    return [
        Row(count, len(row["by_key"]), **{name: _middle(each) for name, each in row.items()})
        for count, row in found.items()
    ]


def _middle(measured: list[Measured]) -> Measured:
    return Measured(
        statistics.median(each.per_second for each in measured),
        statistics.median(each.p50_s for each in measured),
        statistics.median(each.p99_s for each in measured),
    )
