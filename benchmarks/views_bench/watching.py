"""How long it takes from a webhook to the event that many clients hear of it."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from statistics import quantiles
from urllib.parse import urlsplit

import msgspec
from support.closed_loop import run
from support.post import Poster
from support.say import say

from avro import instants
from support.parts import TOKEN
from views_bench.clients import Stream, open_stream
from views_bench.stage import Stage
from views_bench.tables import ORGANIZATIONS, Conversations

RATE = 200
_WARM_UP_S = 2
_LAST_S = 10
_OPENED_AT_ONCE = 50
_TAIL = 40
_MARK = re.compile(rb'"preview":"mark (\d+)"')


@dataclass(frozen=True)
class Heard:
    """Seconds from the sending of a webhook to the event at a client."""

    clients: int
    events: int
    heard: int
    missing: int
    lost_streams: int
    p50_s: float
    p99_s: float
    most_s: float
    #: Resident memory of the worker for each stream, when all were open and nothing had been sent yet.
    bytes_per_stream: float


class _Client:
    """Notes which marks it hears, and when each came first."""

    def __init__(self, note: Callable[[int, float], None]) -> None:
        self._note = note
        self._tail = b""
        self._known: set[int] = set()

    def hear(self, data: bytes) -> None:
        """Take what came."""
        text = self._tail + data
        self._tail = text[-_TAIL:]
        now = time.perf_counter()
        for found in _MARK.finditer(text):
            mark = int(found[1])
            if mark not in self._known:
                self._known.add(mark)
                self._note(mark, now)


def measure(stage: Stage, conversations: Conversations, clients: int, seconds: int) -> Heard:
    """Have half of the clients watch an organization's list and half a conversation, while RATE webhooks/s come."""
    return run(_measure(stage, conversations, clients, seconds))


async def _measure(stage: Stage, conversations: Conversations, clients: int, seconds: int) -> Heard:
    random = Random(10)
    count = (_WARM_UP_S + seconds) * RATE
    chosen = random.sample(range(len(conversations.ids)), min(count, len(conversations.ids)))
    told = [chosen[number % len(chosen)] for number in range(count)]
    listeners = clients // 2
    watched = [chosen[number % len(chosen)] for number in range(clients - listeners)]
    sent = [0.0] * count
    times: list[float] = []
    expected = 0
    by_organization = [listeners // ORGANIZATIONS + (n < listeners % ORGANIZATIONS) for n in range(ORGANIZATIONS)]
    watchers = {number: watched.count(number) for number in set(watched)}
    for mark in range(_WARM_UP_S * RATE, count):
        expected += by_organization[told[mark] % ORGANIZATIONS] + watchers.get(told[mark], 0)

    def note(mark: int, now: float) -> None:
        if mark >= _WARM_UP_S * RATE:
            times.append(now - sent[mark])

    # Only what is active from now on: the table is not told to everybody first.
    since = instants.render(instants.now()).replace("+", "%2B")
    paths = [
        f"/events?organization_id=organization-{number % ORGANIZATIONS}&updated_since={since}"
        for number in range(listeners)
    ]
    paths += [f"/conversations/{conversations.ids[number]}/events" for number in watched]
    say(f"{clients} clients come")
    streams: list[Stream] = []
    before = stage.worker.memory_info().rss
    for start in range(0, len(paths), _OPENED_AT_ONCE):
        some = paths[start : start + _OPENED_AT_ONCE]
        streams += await asyncio.gather(
            *(open_stream(stage.views_port, TOKEN, path, _Client(note).hear) for path in some)
        )
    opened = (stage.worker.memory_info().rss - before) / clients
    say(f"{RATE} webhooks a second for {_WARM_UP_S + seconds} s")
    await _post(stage, conversations, told, sent)
    for _ in range(_LAST_S * 20):
        if len(times) >= expected:
            break
        await asyncio.sleep(0.05)
    lost = sum(stream.lost for stream in streams)
    for stream in streams:
        stream.close()
    cuts = quantiles(times, n=100)
    return Heard(clients, count, len(times), expected - len(times), lost, cuts[49], cuts[98], max(times), opened)


async def _post(stage: Stage, conversations: Conversations, told: list[int], sent: list[float]) -> None:
    address = urlsplit(stage.bridge_url)
    assert address.hostname is not None
    assert address.port is not None
    async with Poster(address.hostname, address.port, "/webhooks", TOKEN) as poster, asyncio.TaskGroup() as posts:

        async def post(mark: int) -> None:
            event = conversations.message(told[mark], f"watched-{since}-{mark}", f"mark {mark}", instants.now())
            body = msgspec.json.encode({"entity": "messages", "action": "insert", "data": event.row})
            sent[mark] = time.perf_counter()
            status, answer = await poster.post(body)
            if status != 202:
                raise RuntimeError(f"{status}: {answer!r}")

        since = time.time_ns()
        begin = time.perf_counter()
        for mark in range(len(told)):
            await asyncio.sleep(max(0.0, begin + mark / RATE - time.perf_counter()))
            posts.create_task(post(mark))
