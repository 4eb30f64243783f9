"""What is left of messages and conversations that tombstones remove: status changes that were told, and no memory."""

import asyncio

import pytest

from streams.engine.source import Record
from streams.tables.contributions import ContributionRecord, encode_record
from streams.tables.links import LEFT, AddressUpdate, encode_link
from support.join_cases import inserted, opened
from support.shipped import Shipped
from support.views_world import World, conversation, message


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "before the row"])
def test_what_was_told_without_a_conversation_is_not_told_with_it_once_its_message_is_removed(
    *, together: bool
) -> None:
    """Told once is what is promised; what somebody has erased is not published again."""
    shipped = Shipped()
    shipped.receive([inserted("m", "c", "outgoing", 10), inserted("kept", "c", "outgoing", 20)])
    shipped.relay()
    assert {change["conversation"] for change in shipped.status_changes.values()} == {None}
    shipped.receive([{"entity": "messages", "data": {"id": "m"}, "removed": True}])
    if together:
        shipped.receive([opened("c", 5)], relayed=len(shipped.between) - shipped.read)
    else:
        shipped.relay()
        shipped.receive([opened("c", 5)])
    known = {one["message_id"]: one["conversation"] is not None for one in shipped.status_changes.values()}
    assert known == {"m": False, "kept": True}
    assert shipped.conversation_states["c"]["message_count"] == 1


def test_what_a_removed_message_has_announced_and_not_told_is_told_all_the_same() -> None:
    shipped = Shipped()
    shipped.receive([inserted("m", "c", "outgoing", 10)])
    shipped.receive([{"entity": "messages", "data": {"id": "m"}, "removed": True}])
    shipped.receive([opened("c", 5)], relayed=len(shipped.between) - shipped.read)
    told = [(one["message_id"], one["status"]) for one in shipped.status_changes.values()]
    assert told == [("m", "pending")]


LATE = {
    "it has left its address": encode_link(AddressUpdate("of 5215", None, LEFT)),
    "its message is gone": encode_record(ContributionRecord("gone-m", None, [])),
}


@pytest.mark.parametrize("value", LATE.values(), ids=LATE)
def test_a_forgotten_conversation_is_not_in_memory_whatever_it_is_told_later(value: bytes) -> None:
    """It would take the place of another there."""

    async def check() -> None:
        world = World(partitions=1)
        await world.own_and_index()
        for key in ("gone", "kept"):
            world.post(conversation(key, contact_address="5215"), message(f"{key}-m", key))
        await world.settle()
        world.delete("messages", "gone-m")
        world.delete("conversations", "gone")
        await world.settle()
        table = world.join.conversations[0]
        assert set(table._in_use) == {"kept"}
        await world.join.process([Record(world.contract.topic("streams-contributions"), 0, 1_000, b"gone", value)])
        await world.settle()
        async with world.client() as client:
            assert (await client.get("/conversations/gone")).status_code == 404
            assert (await client.get("/conversations/never/messages")).status_code == 404
        world.post(message("another", "kept"))
        await world.settle()
        assert set(table._in_use) == {"kept"}

    asyncio.run(check())
