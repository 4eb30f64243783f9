"""What would become too large to be written is refused as a dead letter, and leaves what is known as it was."""

import pytest

from streams.contract import Refused
from streams.limits import FACTS_BYTES
from streams.state.contribution import Contribution
from streams.tables.contributions import ContributionRecord
from support.views_world import World, conversation, message
from unit.streams.test_join_cost import task_of

#: Two of them are too large, one is not.
LARGE = "x" * (FACTS_BYTES * 2 // 3)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("row", "path"),
    [(conversation("c"), "/conversations/c"), (message("m", "c"), "/messages/m")],
    ids=["conversation", "message"],
)
async def test_a_row_that_grows_too_large_by_what_changes_is_refused_and_stays_as_it_was(row, path):
    world = World()
    await world.own_and_index()
    world.post(row)
    await world.settle()
    for number in (1, 2):
        told = {"id": row["data"]["id"], f"column_{number}": LARGE, "updated_at": f"2026-05-06T03:4{number}:00Z"}
        world.post({"entity": row["entity"], "action": "update", "data": told})
        await world.settle()
        async with world.client() as client:
            shown = (await client.get(path)).text
        assert ("column_1" in shown, "column_2" in shown) == (True, False)
        assert world.join.refused == number - 1


def test_what_a_message_adds_to_its_conversation_is_refused_when_it_could_not_be_written():
    table, _, writer = task_of(1)
    with pytest.raises(Refused):
        table.apply_contribution(
            "c", ContributionRecord("m0", Contribution(announced=[f"{number}{LARGE}" for number in range(4)]), [])
        )
    list(table.publishing())
    list(table.flushing())
    assert writer.largest < FACTS_BYTES
