"""Tables that a former version has filled: a takeover finds what that did not."""

import pytest

from streams.engine.stores import group_key
from streams.state import contribution, message
from streams.tables.owned import CONVERSATIONS, MESSAGES
from support.join import empty_stores
from support.views_world import World, partition_of
from unit.streams.state.test_former import MESSAGE, PART, ROW


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_of_two_messages_with_one_external_id_one_is_left_without_any_event():
    world = World()
    world._stores = stores = empty_stores(range(world.partitions))
    home = stores[CONVERSATIONS, partition_of("c", world.partitions)]
    home.put(group_key(b"c", b""), ROW)
    for key in ("ghost", "real"):
        stores[MESSAGES, partition_of(key, world.partitions)].put(key.encode(), MESSAGE)
        home.put(group_key(b"c", key.encode()), PART)
    await world.own_and_index()
    asked = len(world.writer.waiting)
    assert asked == 2
    await world.settle()
    async with world.client() as client:
        shown = (await client.get("/conversations/c")).json()
        found = (await client.get("/conversations/c/messages")).json()["messages"]
        assert [one["id"] for one in found] == ["real"]
        assert (await client.get("/messages/ghost")).status_code == 404
    assert (shown["message_count"], shown["outgoing_count"]) == (1, 1)
    # What is written in the form of now is not asked again.
    for _, stored in home.scan(b""):
        assert not contribution.predates_holders(stored) or stored == ROW
    assert not message.predates_holders(stores[MESSAGES, partition_of("ghost", world.partitions)].get(b"ghost") or b"")
    world.tables.lost()
    world.tables._indexed_before.clear()
    await world.own_and_index()
    assert not world.writer.waiting
