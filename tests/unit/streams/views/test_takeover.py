"""What a takeover costs, and a look at a long conversation: never more than has to be, never all at once."""

import asyncio
import time
from collections import Counter

import pytest

from streams.engine.restore import Changelog
from streams.engine.source import Record
from streams.engine.stores.memory import GroupedMemoryStore, MemoryStore
from streams.tables.owned import CONVERSATIONS
from streams.views.access import HOP
from streams.views.live import positions, subscription
from streams.views.read.feed import Recent
from support.gate import hold
from support.sse_client import DirectClient
from support.views_world import ACME, ALL, World, conversation, instant, message

pytestmark = pytest.mark.anyio

LISTS = ["/conversations", "/orphans", "/messages"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def small_slices(monkeypatch):
    """Have others take their turn often."""
    monkeypatch.setattr("streams.views.read.partition._SLICE", 2)
    monkeypatch.setattr("streams.tables.conversations._COUNTED", 2)
    monkeypatch.setattr("streams.state.conversation._ROLES", 2)


async def world_with_a_long_conversation(messages: int = 400) -> World:
    """One conversation that is in the tables, but not in use."""
    world = World(partitions=1)
    await world.own_and_index()
    world.post(conversation("long"), *(message(f"m{n}", "long", timestamp=instant(n)) for n in range(messages)))
    await world.settle()
    world.hand_around()
    await world.own_and_index()
    assert not world.tables.view(0).prepared("long")
    return world


class Turns:
    """Counts how often something else than the answer was done."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)


async def get(world: World, path: str) -> dict:
    async with world.client() as client:
        answer = await client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


async def test_an_index_that_nobody_else_can_have_made_stale_is_used_again():
    """A rebalance that leaves a partition where it was does not read all of it again."""
    world = World(partitions=2)
    await world.own_and_index()
    world.post(*(conversation(f"c{n}", created_at=instant(n)) for n in range(20)))
    await world.settle()
    # What the join still writes while it gives the partitions up is in the index as well.
    world.post(conversation("last", created_at=instant(99)))
    await world.join_all()
    world.tables.lost()
    world.flush()
    world.acknowledge()
    world.own()
    assert world.tables.unready == frozenset()
    found = (await get(world, "/conversations"))["conversations"]
    assert len(found) == 21
    assert found[0]["id"] == "last"
    world.post(conversation("new", created_at=instant(100)))
    await world.settle()
    assert (await get(world, "/conversations"))["conversations"][0]["id"] == "new"


async def test_only_those_that_somebody_else_has_had_are_indexed_anew():
    world = World(partitions=2)
    await world.own_and_index()
    world.post(*(conversation(f"c{n}") for n in range(20)))
    await world.settle()
    world.tables.lost()
    world._stores[CONVERSATIONS, 1].generation += 1
    world.own()
    assert world.tables.unready == {1}
    await world.tables._indexing
    assert world.tables.unready == frozenset()
    assert len((await get(world, "/conversations"))["conversations"]) == 20


async def test_an_index_that_was_not_finished_is_not_used_again():
    world = World(partitions=1)
    await world.own_and_index()
    world.post(*(conversation(f"c{n}") for n in range(20)))
    await world.settle()
    world.hand_around()
    world.own()
    world.tables.lost()
    await world.own_and_index()
    assert len((await get(world, "/conversations"))["conversations"]) == 20


@pytest.mark.parametrize("store", [MemoryStore(), GroupedMemoryStore()])
async def test_what_changes_a_store_besides_the_join_is_noticed(store):
    generations = [store.generation]
    Changelog(store, 0, lambda _, a, __: a).apply(Record("t", 0, 0, b"\0\0\0\1cm", b"v"))
    generations.append(store.generation)
    store.clear()
    generations.append(store.generation)
    assert len(set(generations)) == 3


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("path", ["/conversations/long", "/conversations/long/messages", "/conversations"])
async def test_the_first_look_at_a_long_conversation_lets_others_have_their_turn(path):
    world = await world_with_a_long_conversation()
    turns = Turns()
    others = asyncio.create_task(turns.run())
    await get(world, path)
    others.cancel()
    assert turns.count > 390, "half of them while it is read, half while it is counted"
    assert world.tables.view(0).prepared("long")
    assert (await get(world, "/conversations/long"))["message_count"] == 400


@pytest.mark.usefixtures("small_slices")
async def test_indexing_a_long_conversation_lets_others_have_their_turn():
    world = await world_with_a_long_conversation()
    world.hand_around()
    turns = Turns()
    others = asyncio.create_task(turns.run())
    await world.own_and_index()
    others.cancel()
    assert turns.count > 390, "half of them while it is read, half while it is counted"
    assert [one["message_count"] for one in (await get(world, "/conversations"))["conversations"]] == [400]


class ReadAtOnce:
    """Counts the messages of conversations that are read between two turns of others."""

    def __init__(self, world: World) -> None:
        self._counts: Counter[int] = Counter()
        self._turns = Turns()
        self._others = asyncio.create_task(self._turns.run())
        self._task = world.tables.view(0)._task
        self._contributions = self._task.contributions
        self._task.contributions = self._counted

    def _counted(self, conversation_id):
        for contribution in self._contributions(conversation_id):
            self._counts[self._turns.count] += 1
            yield contribution

    @property
    def most(self) -> int:
        """The largest number; nothing is counted any more."""
        self._others.cancel()
        del self._task.contributions
        return max(self._counts.values())


async def have_counted_again(world: World, newest: int) -> None:
    """Move the newest message of the long conversation to its beginning; all others have to be looked at."""
    world.post(message(f"m{newest}", "long", timestamp=instant(0), updated_at=instant(9999)))
    await world.join_all()
    assert not world.tables.view(0)._task.is_in_use("long")


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("path", ["/conversations/long", *LISTS])
async def test_a_long_conversation_that_has_to_be_counted_again_is_not_read_at_once(path):
    """Whether it is asked for, or a list wants to know where it stands now."""
    world = await world_with_a_long_conversation()
    await have_counted_again(world, 399)
    read = ReadAtOnce(world)
    await get(world, path)
    assert read.most <= 4
    (found,) = (await get(world, "/conversations"))["conversations"]
    assert found["last_message"]["message_id"] == "m398"


@pytest.mark.usefixtures("small_slices")
async def test_an_event_stream_reads_no_long_conversation_at_once(monkeypatch):
    """Neither for its first page, nor for another one after a change."""
    world = await world_with_a_long_conversation()
    await have_counted_again(world, 399)
    read = ReadAtOnce(world)
    monkeypatch.setattr(subscription, "_PAGE", 1)
    go_on = hold(monkeypatch, subscription)
    async with DirectClient(world.views.app, "/events", ALL) as client:
        await until(lambda: world.tables.view(0)._task.is_in_use("long"))
        await have_counted_again(world, 398)
        go_on.set()
        await client.until(lambda: "ready" in client.names)
    assert read.most <= 4
    assert client.events[1].data["last_message"]["message_id"] == "m398"


@pytest.mark.usefixtures("small_slices")
async def test_an_event_stream_that_is_resumed_reads_no_long_conversation_at_once():
    """What a former owner of the partition has told last does not say whose it is: that is looked up."""
    world = await world_with_a_long_conversation()
    await have_counted_again(world, 399)
    feed = world.tables.view(0).feed
    feed.extend(feed.start - 1, feed.start, [Recent(feed.start, "long", None)])
    last_id = {"last-event-id": positions.text({0: feed.start}, time.time())}
    read = ReadAtOnce(world)
    async with DirectClient(world.views.app, "/events", ACME, last_id) as client:
        await client.until(lambda: "ready" in client.names)
    assert read.most <= 4
    assert client.names == ["conversation", "ready"]


@pytest.mark.usefixtures("small_slices")
async def test_what_the_join_has_counted_meanwhile_is_not_read_on():
    world = await world_with_a_long_conversation()
    await have_counted_again(world, 399)
    asked = asyncio.create_task(get(world, "/conversations/long"))
    await until(lambda: world.tables.view(0)._preparing)
    world.flush()
    turns = Turns()
    others = asyncio.create_task(turns.run())
    assert (await asked)["last_message"]["message_id"] == "m398"
    others.cancel()
    assert turns.count < 100


@pytest.mark.usefixtures("small_slices")
async def test_a_long_conversation_that_changes_while_it_is_counted_again_is_still_not_read_at_once():
    world = await world_with_a_long_conversation()
    await have_counted_again(world, 399)
    read = ReadAtOnce(world)
    asked = asyncio.create_task(get(world, "/conversations/long"))
    for newest in (398, 397, 396):
        await until(lambda: world.tables.view(0)._preparing)
        await asyncio.sleep(0)
        await have_counted_again(world, newest)
    found = await asked
    assert read.most <= 4
    assert (found["message_count"], found["last_message"]["message_id"]) == (400, "m395")
    assert not world.tables.view(0)._preparing


@pytest.mark.usefixtures("small_slices")
async def test_what_changes_while_a_long_conversation_is_read_is_in_the_answer():
    world = await world_with_a_long_conversation()
    view = world.tables.view(0)
    readers = [asyncio.create_task(get(world, "/conversations/long")) for _ in range(3)]
    await until(lambda: view._preparing)
    world.post(message("new", "long", timestamp=instant(9999)))
    await world.join_all()
    for read in await asyncio.gather(*readers):
        assert read["message_count"] == 401
        assert read["last_message"]["message_id"] == "new"
    assert not view._preparing


@pytest.mark.usefixtures("small_slices")
async def test_a_long_conversation_that_is_deleted_while_it_is_read_is_not_found():
    world = await world_with_a_long_conversation()
    async with world.client() as client:
        asked = asyncio.create_task(client.get("/conversations/long"))
        await until(lambda: world.tables.view(0)._preparing)
        world.delete("conversations", "long")
        await world.settle()
        assert (await asked).status_code == 404


@pytest.mark.usefixtures("small_slices")
async def test_a_partition_that_is_lost_while_a_long_conversation_is_read_is_not_answered():
    world = await world_with_a_long_conversation()
    async with world.client() as client:
        asked = [asyncio.create_task(client.get("/conversations/long")) for _ in range(2)]
        await until(lambda: world.tables.view(0)._preparing)
        world.tables.lost()
        for answer in await asyncio.gather(*asked):
            assert answer.json()["reason"] == "not_ready"


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("path", ["/conversations/long", "/conversations/long/messages", *LISTS])
@pytest.mark.parametrize("headers", [{}, {HOP.decode(): "0"}], ids=["client", "worker"])
async def test_a_worker_that_may_have_been_replaced_while_a_long_conversation_is_read_answers_nothing(path, headers):
    world = await world_with_a_long_conversation()
    await have_counted_again(world, 399)
    async with world.client() as client:
        asked = asyncio.create_task(client.get(path, headers=headers))
        await until(lambda: world.tables.view(0)._preparing)
        world.worker.holds_lease = False
        assert (await asked).json()["reason"] == "not_ready"


async def test_a_worker_that_may_have_been_replaced_while_messages_are_put_in_order_answers_nothing(monkeypatch):
    monkeypatch.setattr("streams.views.read.timeline._SLICE", 2)
    world = await world_with_a_long_conversation()
    async with world.client() as client:
        asked = asyncio.create_task(client.get("/conversations/long/messages"))
        await until(lambda: world.tables.view(0)._timelines._kept)
        world.worker.holds_lease = False
        assert (await asked).json()["reason"] == "not_ready"


async def until(condition) -> None:
    """Return when something is true, after others have had their turn often enough."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise TimeoutError
