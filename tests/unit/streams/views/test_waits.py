"""Reads wait while a partition moves, and are answered by whoever has it then; what cannot come is refused at once."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import httpx
import pytest
from yarl import URL

from streams.views.access import HOP, WAIT
from streams.views.cluster import peers as cluster_peers
from streams.views.cluster.peers import Answered
from support.views_world import World, conversation, partition_of

pytestmark = pytest.mark.anyio

OTHER = "http://127.0.0.1:9"
#: Long enough never to pass in a test.
WAIT_S = 60
NOT_READY = {"reason": "not_ready", "detail": "being restored", "partitions": [0]}

Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def made(**settings) -> World:
    """One worker with a conversation `c`, and everything that may wait does so."""
    world = World(**{"partitions": 1, "read_wait_s": WAIT_S, **settings})
    await world.own_and_index()
    world.post(conversation("c"))
    await world.settle()
    return world


def answered_by(world: World, handler: Handler) -> list[httpx.Request]:
    """Have a function stand for all other workers; return what they are asked, as it comes."""
    asked = []

    async def get_once(address: URL, headers: list[tuple[str, str]]) -> Answered:
        asked.append(request := httpx.Request("GET", str(address), headers=headers))
        answer = await handler(request)
        return Answered(answer.status_code, answer.headers, answer.content)

    world.views._peers._get_once = get_once
    return asked


async def refuses(request: httpx.Request) -> httpx.Response:
    """Do as a worker whose process has ended."""
    raise aiohttp.ClientConnectionError(request.url)


async def closes_at_once(_: httpx.Request) -> httpx.Response:
    """Do as a worker that closes a connection as soon as it has accepted it."""
    raise aiohttp.ServerDisconnectedError


async def gives(_: httpx.Request) -> httpx.Response:
    """Answer as a worker that owns the conversation."""
    return httpx.Response(200, json={"id": "theirs"}, headers={"etag": '"1"'})


async def until(condition: Callable[[], object]) -> None:
    """Return when something is true."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 what it waits for are turns of the loop
            await asyncio.sleep(0)


def waiting(world: World) -> int:
    """Return how many reads wait."""
    return world.views._waits.waiting


def outcomes(world: World) -> dict[str, float]:
    """Return how reads that waited have ended."""
    metrics = world.views.metrics
    metrics.fold()
    (family,) = metrics.reads_waited._counter.collect()
    return {sample.labels["outcome"]: sample.value for sample in family.samples if sample.name.endswith("_total")}


@pytest.mark.parametrize("path", ["/conversations/c", "/conversations/c/messages", "/conversations", "/messages"])
async def test_a_read_that_comes_while_nothing_is_owned_is_answered_after_the_takeover(path):
    world = await made()
    world.tables.lost()
    async with world.client() as client:
        read = asyncio.create_task(client.get(path))
        await until(lambda: waiting(world) == 1)
        await world.own_and_index()
        assert (await read).status_code == 200
    assert outcomes(world) == {"answered": 1}
    assert waiting(world) == 0


async def test_a_read_waits_until_its_partition_is_caught_up_with():
    world = await made()
    world.tables.lost()
    world.own()
    topic = world.tables.contributions_topic
    world.join.work.ends = {(topic, 0): 5} | {(name, 0): 0 for name in world.contract.names if name != topic}
    async with world.client() as client:
        read = asyncio.create_task(client.get("/conversations/c"))
        await until(lambda: waiting(world) == 1)
        world.app.hooks.advanced()
        await until(lambda: waiting(world) == 1)
        assert not read.done()
        await world.join.process([], [(topic, 0, 5)])
        assert (await read).status_code == 200


async def test_a_read_waits_until_the_group_has_confirmed_the_worker_again():
    world = await made()
    world.worker.holds_lease = False
    world.app.hooks.advanced()
    async with world.client() as client:
        read = asyncio.create_task(client.get("/conversations/c"))
        await until(lambda: waiting(world) == 1)
        world.worker.holds_lease = True
        world.app.hooks.advanced()
        assert (await read).status_code == 200


async def test_when_the_time_is_over_the_answer_is_what_it_was_without_waiting():
    world = await made(read_wait_s=0.05)
    world.tables.lost()
    async with world.client() as client:
        answer = await client.get("/conversations/c")
        assert (answer.status_code, answer.json()["reason"]) == (503, "not_ready")
        assert answer.headers["retry-after"] == "1"
    assert outcomes(world) == {"timed_out": 1}


async def test_more_reads_than_may_wait_are_refused_at_once():
    world = await made(waiting_reads=1)
    world.tables.lost()
    async with world.client() as client:
        read = asyncio.create_task(client.get("/conversations/c"))
        await until(lambda: waiting(world) == 1)
        beyond = await client.get("/conversations/c")
        assert (beyond.status_code, beyond.json()["reason"]) == (503, "not_ready")
        assert "1 reads wait already" in beyond.json()["detail"]
        await world.own_and_index()
        assert (await read).status_code == 200
    assert outcomes(world) == {"answered": 1, "refused": 1}


async def test_another_worker_waits_here_no_longer_than_it_says():
    world = await made()
    world.tables.lost()
    async with world.client() as client:
        # A worker of before this was so names no time, and is to have its answer at once.
        for wait in ({}, {"openbsp-wait": "0"}, {"openbsp-wait": "-1"}, {"openbsp-wait": "nan"}):
            answer = await client.get("/conversations/c", headers={"openbsp-partitions": "0", **wait})
            assert answer.json()["reason"] == "not_ready"
        read = asyncio.create_task(
            client.get("/conversations/c", headers={"openbsp-partitions": "0", "openbsp-wait": "30"})
        )
        await until(lambda: waiting(world) == 1)
        await world.own_and_index()
        assert (await read).status_code == 200


async def test_what_is_another_workers_is_refused_to_a_worker_at_once():
    world = await made(partitions=2)
    mine = partition_of("c", 2)
    world.tables.lost()
    world.own([1 - mine])
    async with world.client() as client:
        answer = await client.get("/conversations/c", headers={"openbsp-partitions": "0,1", "openbsp-wait": "30"})
        assert "another worker's" in answer.json()["detail"]


async def test_a_worker_that_owns_nothing_yet_asks_the_one_that_does():
    world = await made()
    world.tables.lost()
    world.worker.others = {0: OTHER}
    asked = answered_by(world, gives)
    async with world.client() as client:
        answer = await client.get("/conversations/c")
        assert answer.json() == {"id": "theirs"}
    assert str(asked[0].url) == f"{OTHER}/conversations/c"
    assert asked[0].headers[HOP.decode()] == "0"
    assert 0 < float(asked[0].headers[WAIT.decode()]) <= WAIT_S


@pytest.mark.parametrize("refusal", [refuses, closes_at_once, lambda _: _not_ready()])
async def test_a_read_whose_owner_has_gone_is_answered_by_its_successor(refusal):
    world = await made(partitions=2)
    mine = partition_of("c", 2)
    world.tables.lost()
    world.own([1 - mine])
    world.worker.others = {mine: OTHER}
    asked = answered_by(world, refusal)
    async with world.client() as client:
        read = asyncio.create_task(client.get("/conversations/c"))
        await until(lambda: waiting(world) == 1)
        # What may be a kept connection that ends is tried once more, at once.
        assert len(asked) == (2 if refusal is closes_at_once else 1)
        world.tables.lost()
        world.worker.others = {}
        await world.own_and_index()
        assert (await read).json()["id"] == "c"


async def _not_ready() -> httpx.Response:
    return httpx.Response(503, json=NOT_READY)


async def test_a_worker_that_cannot_be_reached_is_tried_by_one_read_for_all(monkeypatch):
    monkeypatch.setattr(cluster_peers, "_AWAY_S", 0.01)
    world = await made(partitions=2)
    mine = partition_of("c", 2)
    world.tables.lost()
    world.own([1 - mine])
    world.worker.others = {mine: OTHER}
    there = False
    tries = 0
    most_at_once = at_once = 0

    async def handler(request: httpx.Request) -> httpx.Response:
        nonlocal tries, at_once, most_at_once
        if there:
            return await gives(request)
        tries += 1
        at_once += 1
        most_at_once = max(most_at_once, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return await refuses(request)

    answered_by(world, handler)
    async with world.client() as client:
        reads = [asyncio.create_task(client.get("/conversations/c"))]
        await until(lambda: waiting(world) == 1)
        most_at_once = 0
        reads += [asyncio.create_task(client.get("/conversations/c")) for _ in range(20)]
        await until(lambda: tries > 3)
        assert most_at_once == 1
        there = True
        for read in reads:
            assert (await read).json() == {"id": "theirs"}


async def test_a_worker_that_owns_nothing_any_more_is_not_waited_for():
    """It may stand still, and never answer."""
    world = await made(partitions=2)
    mine = partition_of("c", 2)
    world.tables.lost()
    world.own([1 - mine])
    world.worker.others = {mine: OTHER}
    never = asyncio.Event()

    async def silent(_: httpx.Request) -> httpx.Response:
        await never.wait()
        raise AssertionError

    asked = answered_by(world, silent)
    async with world.client() as client:
        read = asyncio.create_task(client.get("/conversations/c"))
        await until(lambda: asked)
        world.tables.lost()
        world.worker.others = {}
        await world.own_and_index()
        assert (await read).json()["id"] == "c"


async def test_a_worker_that_stops_passes_on_what_it_cannot_answer_any_more():
    world = await made(partitions=2)
    asked = answered_by(world, gives)
    async with world.client() as client:
        world.tables.leave()
        assert (await client.get("/conversations/c")).json()["id"] == "c"
        assert (await client.get("/readyz")).status_code == 503
        world.worker.others = {1 - partition_of("c", 2): OTHER}
        world.tables.lost()
        answer = await client.get("/conversations?limit=3", headers={"If-None-Match": '"0"'})
        assert (answer.json(), answer.headers["etag"]) == ({"id": "theirs"}, '"1"')
        (request,) = asked
        assert str(request.url) == f"{OTHER}/conversations?limit=3"
        assert request.headers["if-none-match"] == '"0"'
        assert HOP.decode() not in request.headers
        assert float(request.headers[WAIT.decode()]) > 0
    assert outcomes(world) == {"passed_on": 1}


async def test_reads_that_wait_are_passed_on_when_the_worker_begins_to_stop():
    world = await made(partitions=2)
    answered_by(world, gives)
    world.tables.lost()
    async with world.client() as client:
        read = asyncio.create_task(client.get("/conversations/c"))
        await until(lambda: waiting(world) == 1)
        world.worker.others = {1 - partition_of("c", 2): OTHER}
        world.tables.leave()
        assert (await read).json() == {"id": "theirs"}


@pytest.mark.parametrize("headers", [{"openbsp-partitions": "0", "openbsp-wait": "30"}, {"openbsp-wait": "30"}])
async def test_a_worker_that_stops_passes_on_nothing_that_another_worker_asks(headers):
    """Two workers that stop would pass it to each other for ever."""
    world = await made()
    asked = answered_by(world, gives)
    world.tables.leave()
    world.tables.lost()
    async with world.client() as client:
        answer = await client.get("/conversations/c", headers=headers)
        assert answer.json()["detail"] == "the worker is stopping"
    assert asked == []


async def test_nobody_waits_for_tables_that_were_made_with_other_partitions():
    world = await made()
    world.tables.lost()
    async with world.client() as client:
        read = asyncio.create_task(client.get("/conversations/c"))
        await until(lambda: waiting(world) == 1)
        world.app.hooks.partitions_changed(7)
        assert "streams repartition" in (await read).json()["detail"]
