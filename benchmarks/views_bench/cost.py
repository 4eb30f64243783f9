"""What queries cost the join: the same bulk of messages is joined with and without somebody asking."""

import asyncio
import contextlib
import itertools
import statistics
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

from support.closed_loop import run
from support.say import say

from support.parts import TOKEN
from views_bench.clients import Getter, open_stream
from views_bench.reads import PAGE
from views_bench.stage import CONTRIBUTIONS, Stage
from views_bench.tables import ORGANIZATIONS, Conversations

GETS = 200  # per second
PAGES = 20  # per second
STREAMS = 100


@dataclass(frozen=True)
class Cost:
    """Messages joined per second: medians of both, and how many queries a second were answered meanwhile."""

    messages: int
    rounds: int
    alone: float
    asked: float
    answers_per_s: float

    @property
    def share(self) -> float:
        """How much of its speed the join keeps."""
        return self.asked / self.alone


def measure(stage: Stage, conversations: Conversations, messages: int, rounds: Iterable[int]) -> Cost:
    """Write `messages` at once and time their way into the tables, in each round once each way, after a warm-up."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    answers: list[float] = []
    turns = itertools.chain.from_iterable((2 * number - 1, 2 * number) for number in rounds)
    for number in itertools.chain([0], turns):
        asked = number % 2 == 0
        records = list(stage.cluster.records(conversations.more_messages(messages, seed=100 + number)))
        with _queries(stage, conversations) if asked else contextlib.nullcontext([0]) as count:
            # Trap: each source has a number of its own; conversations' rows write contributions too.
            before = stage.applied(CONTRIBUTIONS)
            started = time.perf_counter()
            stage.cluster.write(records)
            stage.wait_applied(CONTRIBUTIONS, before + messages)
            took = time.perf_counter() - started
        say(f"{messages} messages in {took:.1f} s{' with queries' if asked else ''}{'' if number else ' (warm-up)'}")
        if number:
            rates[asked].append(messages / took)
            if asked:
                answers.append(count[0] / took)
    alone, with_queries = statistics.median(rates[False]), statistics.median(rates[True])
    return Cost(messages, len(rates[True]), alone, with_queries, statistics.median(answers))


@contextlib.contextmanager
def _queries(stage: Stage, conversations: Conversations) -> Iterator[list[int]]:
    """Ask until the end; yields when all streams are open, what counts the answers since then."""
    count = [0]
    begun, stop = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            run(_ask(stage, conversations, count, begun, stop))
        except BaseException as error:  # noqa: BLE001 told by the caller's thread
            failures.append(error)
        finally:
            begun.set()

    thread = threading.Thread(target=ask)
    thread.start()
    begun.wait()
    try:
        yield count
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


async def _ask(
    stage: Stage, conversations: Conversations, count: list[int], begun: threading.Event, stop: threading.Event
) -> None:
    random = Random(11)
    streams = [
        await open_stream(
            stage.views_port,
            TOKEN,
            f"/conversations/{random.choice(conversations.ids)}/events",
            lambda _: None,
        )
        for _ in range(STREAMS)
    ]
    async with Getter(stage.views_port, TOKEN) as getter, asyncio.TaskGroup() as group:

        async def get(path: str) -> None:
            await getter.get(path)
            count[0] += 1

        begun.set()
        begin = time.perf_counter()
        number = 0
        while not stop.is_set():
            organization = random.randrange(ORGANIZATIONS)
            if number % (GETS // PAGES + 1) == 0:
                path = f"/conversations?organization_id=organization-{organization}&status=open&limit={PAGE}"
            else:
                path = f"/conversations/{random.choice(conversations.ids)}"
            group.create_task(get(path))
            number += 1
            await asyncio.sleep(max(0.0, begin + number / (GETS + PAGES) - time.perf_counter()))
    for stream in streams:
        stream.close()
