"""What would become too large to be written is refused as a dead letter, and leaves what is known as it was."""

import pytest

from streams.contract import Refused
from streams.limits import FACTS_BYTES
from streams.state.contribution import Contribution
from streams.tables.contributions import ContributionRecord
from support.views_world import World, conversation, instant, message
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


@pytest.mark.anyio
@pytest.mark.parametrize("trusted_first", [True, False])
async def test_a_large_content_that_two_writers_have_told_is_none_too_many(trusted_first):
    """Such as a webhook with a bound token, and `bridge reconcile`, which told it again."""
    world = World()
    await world.own_and_index()
    row = message("m", "c", content={"type": "text", "text": LARGE}, status={"sent": instant(1)})
    again = message("m", "c", content={"type": "text", "text": f"newer {LARGE}"}, updated_at=instant(50))
    again["data"]["status"] = row["data"]["status"] | {"read": instant(50)}
    told = [again, row | {"organizations": ["acme"]}] if trusted_first else [row | {"organizations": ["acme"]}, again]
    for one in (*told, *told):
        world.post(one)
        await world.settle()
    async with world.client() as client:
        shown = (await client.get("/messages/m")).json()
    assert world.join.refused == 0
    assert shown["content"]["text"].startswith("newer")
    assert shown["delivery_status"] == "read"
    assert len(shown["content"]["text"]) == len(LARGE) + 6
    world.post(message("m", "c", updated_at=instant(60), column_1=LARGE))
    await world.settle()
    assert world.join.refused == 1


def test_what_a_message_adds_to_its_conversation_is_refused_when_it_could_not_be_written():
    table, _, writer = task_of(1)
    with pytest.raises(Refused):
        table.apply_contribution(
            "c", ContributionRecord("m0", Contribution(announced=[f"{number}{LARGE}" for number in range(4)]), [])
        )
    list(table.publishing())
    list(table.flushing())
    assert writer.largest < FACTS_BYTES
