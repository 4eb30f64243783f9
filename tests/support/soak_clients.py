"""Who asks a bridge and a worker of everything for a long time: watchers, readers, and those who do it wrong.

Imports nothing of the project.
"""

import asyncio
import contextlib
import itertools
import json
import random
import secrets
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

import httpx

from support.soak_traffic import ORGANIZATIONS, Traffic, organization, pool_id
from support.sse_client import Copy, Told, parse

#: Of each organization, of all, and of one conversation each.
_WATCHERS_OF_AN_ORGANIZATION, _WATCHERS_OF_ALL, _WATCHERS_OF_ONE = 3, 2, 8
#: Seconds for which a watcher stays before it comes back.
_STAYS_S = (5.0, 40.0)
_READS_PER_S = 20
_STRANGERS_PER_S = 4
#: A stream says something every ten seconds.
_PATIENCE_S = 30.0

Shown = Mapping[str, Any]


class _OfOne(Copy):
    """The stream of one conversation, told as the stream of a list with nothing else in it."""

    def hear(self, event: Told) -> None:
        if event.name in {"snapshot", "change"}:
            event = Told("conversation", event.id, event.data["conversation"])
        super().hear(event)


class Watcher:
    """Comes again and again, each second time from where it was; `copy` is what it believes there is."""

    def __init__(self, path: str, admits: Callable[[Shown], bool], copy: Copy) -> None:
        """Watch conversations that `admits` admits."""
        self.path = path
        self.copy = copy
        self._admits = admits

    def difference(self, shown: Mapping[str, Shown]) -> str:
        """Return how its copy differs from what is shown, nothing if it does not."""
        wanted = {key: item for key, item in shown.items() if self._admits(item)}
        found = self.copy.conversations
        wrong = [key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)]
        return f"{self.path}: {len(wrong)} of {len(wanted)} are wrong, as {min(wrong)}" if wrong else ""


class Clients:
    """A context manager: they ask from its begin to its end, in a thread. The pool is there before.

    `faults` are what nobody should be told, and `failed` is set with the first of them.
    """

    def __init__(self, bridge: str, views: str, token: str, traffic: Traffic) -> None:
        """Ask the bridge and the views at their addresses for what the traffic tells of."""
        self.faults: list[str] = []
        self.failed = threading.Event()
        #: How often who was answered what.
        self.answers: Counter[str] = Counter()
        self.streams_opened = 0
        self.streams_open = 0
        self.events_heard = 0
        #: From now on whoever watches stays.
        self.stay = False
        self.watchers = [
            *(_of_organization(organization(number)) for number in range(ORGANIZATIONS * _WATCHERS_OF_AN_ORGANIZATION)),
            *(Watcher("/events", lambda _: True, Copy()) for _ in range(_WATCHERS_OF_ALL)),
            *(_of_one(pool_id(number)) for number in range(_WATCHERS_OF_ONE)),
        ]
        self._bridge, self._views, self._traffic = bridge, views, traffic
        self._authorization = {"Authorization": f"Bearer {token}"}
        self._chance = random.Random(17)
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._main)

    def __enter__(self) -> Self:
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # they have ended by a fault of their own
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def differences(self, shown: Mapping[str, Shown]) -> list[str]:
        """Return a line for each watcher that believes something else."""
        return list(filter(None, (watcher.difference(shown) for watcher in self.watchers)))

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self._fault(repr(error))
            raise
        finally:
            self._begun.set()

    async def _run(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._begun.set()
        options: dict[str, Any] = {"timeout": _PATIENCE_S, "trust_env": False}
        lasting = httpx.Limits(max_connections=None)
        passing = httpx.Limits(max_keepalive_connections=0)
        async with (
            httpx.AsyncClient(headers=self._authorization, limits=lasting, **options) as known,
            httpx.AsyncClient(limits=passing, **options) as strange,
            asyncio.TaskGroup() as group,
        ):
            tasks = [group.create_task(self._watch(known, watcher)) for watcher in self.watchers]
            tasks.append(group.create_task(self._every(1 / _READS_PER_S, lambda number: self._read(known, number))))
            tasks.append(
                group.create_task(self._every(1 / _STRANGERS_PER_S, lambda number: self._err(strange, number)))
            )
            await self._ended.wait()
            for task in tasks:
                task.cancel()

    @staticmethod
    async def _every(seconds: float, do: Callable[[int], Awaitable[None]]) -> None:
        for number in itertools.count():
            await do(number)
            await asyncio.sleep(seconds)

    # Watchers.

    async def _watch(self, client: httpx.AsyncClient, watcher: Watcher) -> None:
        for turn in itertools.count():
            headers = {"Last-Event-ID": watcher.copy.last_id} if turn % 2 and watcher.copy.last_id else {}
            stays = None if self.stay else self._chance.uniform(*_STAYS_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(stays):
                    await self._listen(client, watcher, headers)

    async def _listen(self, client: httpx.AsyncClient, watcher: Watcher, headers: Mapping[str, str]) -> None:
        async with client.stream("GET", f"{self._views}{watcher.path}", headers=headers) as answer:
            if self._is_answer("watcher", answer.status_code, {200}):
                self.streams_opened += 1
                self.streams_open += 1
                try:
                    await self._hear(answer, watcher.copy)
                finally:
                    self.streams_open -= 1
                self._fault(f"{watcher.path}: the stream has ended")
        await asyncio.sleep(1)

    async def _hear(self, answer: httpx.Response, copy: Copy) -> None:
        rest = ""
        async for text in answer.aiter_text():
            told, _, rest = (rest + text).rpartition("\n\n")
            for event in parse(told):
                copy.hear(event)
                self.events_heard += 1

    # Readers.

    async def _read(self, client: httpx.AsyncClient, number: int) -> None:
        own, key = organization(number), pool_id(number)
        path, allowed = [
            (f"/conversations/{key}", {200}),
            (f"/conversations?organization_id={own}&limit=20", {200}),
            (f"/conversations/passing-{max(0, self._traffic.passed - 10)}", {200, 404}),
            (f"/conversations/{key}/messages", {200}),
            (f"/messages?organization_id={own}&limit=20", {200}),
            (f"/messages/{key}-0", {200}),
            ("/conversations?awaiting_reply=true", {200}),
        ][number % 7]
        answer = await client.get(f"{self._views}{path}")
        self._is_answer("reader", answer.status_code, allowed)

    # Strangers.

    async def _err(self, client: httpx.AsyncClient, number: int) -> None:
        wrong = {"Authorization": f"Bearer {secrets.token_urlsafe(24)}"}
        event = {"entity": "contacts", "action": "update", "data": {"id": "stranger", "name": f"name {number}"}}
        webhooks = f"{self._bridge}/webhooks"
        own = self._authorization
        what: list[tuple[str, str, str, Mapping[str, str], Any, set[int]]] = [
            ("not JSON", "POST", webhooks, own, f'{{"entity": {number}', {400}),
            (
                "no event",
                "POST",
                webhooks,
                own,
                {"entity": "messages", "action": "insert", "data": {"n": number}},
                {422},
            ),
            ("wrong token", "POST", webhooks, wrong, event, {401}),
            ("head of its own", "POST", webhooks, {**own, "User-Agent": f"sender {number}"}, event, {202}),
            ("no path", "GET", f"{self._bridge}/no-{number}", own, None, {404}),
            ("wrong token of a reader", "GET", f"{self._views}/conversations", wrong, None, {401}),
            ("no conversation", "GET", f"{self._views}/conversations/no-{number}", own, None, {404}),
            ("no parameter", "GET", f"{self._views}/conversations?no={number}", own, None, {400}),
            ("wrong session", "POST", f"{self._views}/session", {}, {"token": secrets.token_urlsafe(24)}, {401, 429}),
        ]
        turn = number % (len(what) + 1)
        if turn == len(what):
            await self._half_a_head(webhooks)
            return
        name, method, url, headers, body, allowed = what[turn]
        content = body if isinstance(body, str | None) else json.dumps(body)
        headers = {**headers, "Content-Type": "application/json"}
        answer = await client.request(method, url, headers=headers, content=content)
        self._is_answer(name, answer.status_code, allowed)

    @staticmethod
    async def _half_a_head(url: str) -> None:
        """Give up in the middle of a head."""
        place = httpx.URL(url)
        _, writer = await asyncio.open_connection(place.host, place.port)
        writer.write(b"POST /webhooks HTTP/1.1\r\nHost: ")
        await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def _is_answer(self, who: str, status: int, allowed: set[int]) -> bool:
        """Count an answer, and return whether it is one of these; a 503 is to be asked for again."""
        self.answers[f"{who} {status}"] += 1
        if status not in allowed | {503}:
            self._fault(f"{who}: answered {status}")
        return status in allowed

    def _fault(self, text: str) -> None:
        self.faults.append(text)
        self.failed.set()


def _of_organization(name: str) -> Watcher:
    return Watcher(f"/events?organization_id={name}", lambda shown: bool(shown["organization_id"] == name), Copy())


def _of_one(key: str) -> Watcher:
    return Watcher(f"/conversations/{key}/events", lambda shown: bool(shown["id"] == key), _OfOne())
