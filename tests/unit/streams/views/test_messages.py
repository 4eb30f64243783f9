"""Messages across conversations: the newest first, of those that may be seen, whatever their conversation is."""

import httpx
import pytest

from streams.views.read import lists
from support.views_world import ACME, ALL, World, conversation, instant, message

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def world() -> World:
    """Two conversations of acme and one of another, with messages in turns."""
    world = World()
    await world.own_and_index()
    for key, organization in (("c1", "acme"), ("c2", "acme"), ("x1", "other")):
        world.post(conversation(key, organization))
    for number in range(12):
        key, organization = (("c1", "acme"), ("c2", "acme"), ("x1", "other"))[number % 3]
        status = {"sent": instant(number)} | ({"failed": instant(number)} if number % 4 == 0 else {})
        world.post(
            message(
                f"m{number:02}",
                key,
                organization,
                direction="outgoing",
                timestamp=instant(number),
                status=status | ({"errors": [{"code": number}]} if number % 4 == 0 else {}),
            )
        )
    await world.settle()
    return world


async def page(world: World, query: str = "", token: str = ALL) -> dict:
    async with world.client(token) as client:
        answer = await client.get(f"/messages{query}")
        assert answer.status_code == 200, answer.text
        return answer.json()


async def ids(world: World, query: str = "", token: str = ALL) -> list[str]:
    return [found["id"] for found in (await page(world, query, token))["messages"]]


async def all_pages(client: httpx.AsyncClient, query: str) -> list[str]:
    found, cursor = [], ""
    while cursor is not None:
        answer = (await client.get(f"/messages?{query}{cursor and '&cursor='}{cursor}")).json()
        found += [item["id"] for item in answer["messages"]]
        cursor = answer["next_cursor"]
    return found


async def test_they_are_listed_newest_first_and_filtered(world):
    assert await ids(world) == [f"m{number:02}" for number in reversed(range(12))]
    assert await ids(world, "?organization_id=other") == ["m11", "m08", "m05", "m02"]
    assert await ids(world, "?status=failed") == ["m08", "m04", "m00"]
    assert await ids(world, "?status=failed&organization_id=acme") == ["m04", "m00"]
    assert await ids(world, f"?status=sent&since={instant(6)}") == ["m11", "m10", "m09", "m07", "m06"]
    assert await ids(world, f"?since={instant(11)}") == ["m11"]
    assert await ids(world, "?status=none") == []
    shown = (await page(world, "?status=failed&limit=1"))["messages"][0]
    assert (shown["conversation_id"], shown["organization_id"]) == ("x1", "other")
    assert (shown["delivery_status"], shown["errors"]) == ("failed", [{"code": 8}])


async def test_the_bound_see_only_theirs(world):
    assert set(await ids(world, "", ACME)) == {f"m{number:02}" for number in range(12) if number % 3 != 2}
    assert await ids(world, "?organization_id=other", ACME) == []


async def test_a_status_that_is_reached_later_moves_them_between_the_lists(world):
    world.post(
        message(
            "m04",
            "c2",
            direction="outgoing",
            timestamp=instant(4),
            status={"sent": instant(4), "failed": instant(4), "read": instant(20), "delivered": instant(20)},
        )
    )
    await world.settle()
    assert await ids(world, "?status=failed") == ["m08", "m00"]
    assert await ids(world, "?status=read") == ["m04"]


async def test_what_is_removed_or_of_another_organization_than_its_conversation_is_in_no_list(world):
    world.post(message("foreign", "c1", "other", timestamp=instant(50)))
    world.delete("messages", "m00")
    world.delete("conversations", "c2")
    await world.settle()
    assert await ids(world) == ["m11", "m09", "m08", "m06", "m05", "m03", "m02"]
    assert await ids(world, "?organization_id=other") == ["m11", "m08", "m05", "m02"]
    view = world.tables.view(world.tables.partition_of("c2"))
    assert all(key.find(b"c2") < 0 for key in view.message_keys(lists.MessageFilter(), None, 100)), "nothing is kept"


@pytest.mark.parametrize("limit", [1, 5])
@pytest.mark.parametrize("query", ["", "&status=sent", "&status=failed"])
async def test_pages_one_after_the_other_have_everything_once(world, limit, query):
    async with world.client() as client:
        assert await all_pages(client, f"limit={limit}{query}") == await ids(world, f"?limit=500{query}")


async def test_a_page_looks_at_so_many_messages_and_leaves_the_rest_to_the_next(world, monkeypatch):
    monkeypatch.setattr(lists, "_LOOKED_AT", 4)
    world.post(message("old", "c1", timestamp=instant(0), status={"accepted": instant(0)}))
    await world.settle()
    first = await page(world, "?status=accepted&limit=1")
    assert first["messages"] == []
    assert first["next_cursor"] is not None
    async with world.client() as client:
        assert await all_pages(client, "status=accepted&limit=1") == ["old"]
        assert await all_pages(client, "status=sent&limit=1") == await ids(world, "?status=sent")


async def test_the_index_of_a_takeover_is_the_one_that_was_kept(world):
    world.post(message("late", "c1", timestamp=instant(70)))
    world.delete("messages", "m03")
    await world.settle()
    before = [await ids(world), await ids(world, "?status=failed"), await ids(world, "", ACME)]
    world.hand_around()
    await world.own_and_index()
    assert [await ids(world), await ids(world, "?status=failed"), await ids(world, "", ACME)] == before
    world.tables.lost()
    await world.own_and_index()
    assert [await ids(world), await ids(world, "?status=failed"), await ids(world, "", ACME)] == before


async def test_what_was_written_is_waited_for_and_unusable_parameters_are_refused(world):
    async with world.client() as client:
        answer = await client.get("/messages?after=openbsp.messages:0:0")
        assert answer.status_code in {200, 503}
        for query in ("status=nope", "since=yesterday", "service=whatsapp", "cursor=AAAA", "limit=0"):
            problem = (await client.get(f"/messages?{query}")).json()
            assert (problem["status"], problem["reason"]) == (400, "invalid_parameter"), query
