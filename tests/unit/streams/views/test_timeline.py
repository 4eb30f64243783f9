"""The messages of a conversation in order, however long it is and whatever happens while they are read."""

import asyncio
from itertools import pairwise

import pytest

from streams.state import contribution as contributions
from streams.views.problems import ProblemError
from streams.views.read import timeline
from support.gate import hold
from support.views_world import World, conversation, instant, message, partition_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=[0, 256], ids=["kept", "read"])
def short(request, monkeypatch):
    """Have a timeline for each conversation, or for none."""
    monkeypatch.setattr(timeline, "SHORT", request.param)


async def world_with(count: int) -> World:
    world = World(partitions=1)
    await world.own_and_index()
    world.post(
        conversation("c"), *(message(f"m{number:04}", "c", timestamp=instant(number % 7)) for number in range(count))
    )
    await world.settle()
    return world


async def ids(world: World, limit: int = 3) -> list[str]:
    """Read a whole conversation page by page."""
    found, cursor = [], ""
    async with world.client() as client:
        while cursor is not None:
            answer = await client.get(f"/conversations/c/messages?limit={limit}{cursor and '&cursor='}{cursor}")
            assert answer.status_code == 200, answer.text
            found += [item["id"] for item in answer.json()["messages"]]
            cursor = answer.json()["next_cursor"]
    return found


@pytest.mark.usefixtures("short")
async def test_pages_have_every_message_once_newest_first():
    world = await world_with(20)
    expected = sorted((f"m{number:04}" for number in range(20)), key=lambda key: (int(key[1:]) % 7, key), reverse=True)
    assert await ids(world) == expected


@pytest.mark.usefixtures("short")
async def test_changes_move_messages_and_moved_ones_leave():
    world = await world_with(6)
    assert await ids(world) == ["m0005", "m0004", "m0003", "m0002", "m0001", "m0000"]
    late = {"updated_at": instant(90)}
    world.post(
        message("m0001", "c", timestamp=instant(50), **late),
        message("m0004", "elsewhere", **late),
        message("m0009", "c", timestamp=instant(60)),
    )
    world.delete("messages", "m0002")
    await world.settle()
    assert await ids(world) == ["m0009", "m0001", "m0005", "m0003", "m0000"]
    world.delete("conversations", "c")
    await world.settle()
    async with world.client() as client:
        assert (await client.get("/conversations/c/messages")).status_code == 404


@pytest.mark.usefixtures("short")
async def test_messages_of_another_organization_take_no_place_however_many_they_are():
    world = await world_with(6)
    assert await ids(world) == ["m0005", "m0004", "m0003", "m0002", "m0001", "m0000"]
    world.post(*(message(f"x{number}", "c", "other", timestamp=instant(50 + number)) for number in range(9)))
    await world.settle()
    assert await ids(world) == ["m0005", "m0004", "m0003", "m0002", "m0001", "m0000"]
    async with world.client() as client:
        answer = (await client.get("/conversations/c/messages?limit=6")).json()
    assert (len(answer["messages"]), answer["next_cursor"]) == (6, None)


@pytest.mark.usefixtures("short")
async def test_once_it_is_known_whose_a_conversation_is_it_has_the_messages_of_its_owner():
    world = World(partitions=1)
    await world.own_and_index()
    world.post(message("m1", "c", timestamp=instant(1)), message("x1", "c", "other", timestamp=instant(2)))
    await world.settle()
    assert await ids(world) == ["x1"]
    world.post(conversation("c"))
    await world.settle()
    assert await ids(world) == ["m1"]


async def test_however_many_messages_are_not_shown_in_a_conversation_they_are_not_read_at_once(monkeypatch):
    monkeypatch.setattr(timeline, "SHORT", 5)
    monkeypatch.setattr(timeline, "_SLICE", 5)
    world = await world_with(3)
    world.post(*(message(f"x{number}", "c", "other") for number in range(50)))
    await world.settle()
    view = world.tables.view(0)
    read, stored = [], view._task.contributions
    monkeypatch.setattr(view._task, "contributions", lambda key: (read.append(key) or one for one in stored(key)))
    go_on = hold(monkeypatch, timeline)
    reading = asyncio.create_task(view.messages("c", None, 10))
    await asyncio.sleep(0)
    assert len(read) == 11
    go_on.set()
    assert [key for key, _ in await reading] == ["m0002", "m0001", "m0000"]


async def test_what_changes_while_a_timeline_is_gathered_is_in_it(monkeypatch):
    monkeypatch.setattr(timeline, "SHORT", 0)
    monkeypatch.setattr(timeline, "_SLICE", 2)
    world = await world_with(300)
    view = world.tables.view(partition_of("c", 1))
    go_on = hold(monkeypatch, timeline)
    reading = asyncio.create_task(view.messages("c", None, 100))
    await asyncio.sleep(0)
    world.post(
        message("m0008", "c", timestamp=instant(80), updated_at=instant(90)), message("n", "c", timestamp=instant(81))
    )
    world.delete("messages", "m0000")
    await world.settle()
    assert not reading.done()
    go_on.set()
    found = [key for key, _ in await reading]
    assert found[:2] == ["n", "m0008"]
    assert len(found) == 100
    rest = [key for key, _ in await view.messages("c", (0, ""), 1000)]
    assert rest == []
    everything = [key for key, _ in await view.messages("c", None, 1000)]
    assert len(everything) == len(set(everything)) == 300
    assert "m0000" not in everything


async def test_a_timeline_that_is_gathered_when_the_partition_is_lost_is_not_answered(monkeypatch):
    monkeypatch.setattr(timeline, "SHORT", 0)
    monkeypatch.setattr(timeline, "_SLICE", 2)
    world = await world_with(9)
    reading = asyncio.create_task(world.tables.view(0).messages("c", None, 100))
    await asyncio.sleep(0)
    world.tables.lost()
    with pytest.raises(ProblemError) as caught:
        await reading
    assert caught.value.reason.code == "not_ready"


async def test_the_timelines_asked_for_last_are_kept(monkeypatch):
    monkeypatch.setattr(timeline, "SHORT", 0)
    monkeypatch.setattr(timeline, "KEPT_POSITIONS", 4)
    world = World(partitions=1)
    await world.own_and_index()
    names = ["a", "b", "c", "d"]
    world.post(*(message(f"{name}{number}", name, timestamp=instant(number)) for name in names for number in range(2)))
    await world.settle()
    view = world.tables.view(0)
    for name in names:
        assert [key for key, _ in await view.messages(name, None, 10)] == [f"{name}1", f"{name}0"]
    assert list(view._timelines._kept) == ["c", "d"]


async def test_a_page_of_a_long_conversation_does_not_read_all_of_it(monkeypatch):
    monkeypatch.setattr(timeline, "SHORT", 10)
    world = await world_with(100)
    view = world.tables.view(0)
    await view.messages("c", None, 5)
    reads = []
    monkeypatch.setattr(view._task, "contributions", lambda _: reads.append(1) or [])
    page = await view.messages("c", None, 5)
    assert len(page) == 5
    assert not reads
    times = [contributions.time_of(contribution) for _, contribution in page]
    assert all(later >= earlier for later, earlier in pairwise(times))
