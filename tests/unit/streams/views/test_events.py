"""Event streams: nothing is missed, nothing is told twice, and everybody hears only what they may."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from confluent_kafka import KafkaError
from hypothesis import given, note
from hypothesis import strategies as st

from openbsp.http.tokens.token_set import new_token
from simulation.log import SimulatedMessage
from streams.engine.outside import Clients, Outside
from streams.views.access import HOP
from streams.views.live import backlog, events, positions, subscription
from streams.views.read import feed
from streams.views.read.feed import Recent
from streams.views.read.partition import PartitionView
from support.gate import hold
from support.sse_client import Copy, DirectClient
from support.views_world import ACME, ALL, World, conversation, instant, message, partition_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def world() -> World:
    world = World()
    await world.own_and_index()
    for key, organization in [("c1", "acme"), ("c2", "acme"), ("x1", "other")]:
        world.post(conversation(key, organization), message(f"{key}-m1", key, organization))
    await world.settle()
    return world


def listen(world: World, target: str = "/events", token: str = ALL, last_id: str | None = None) -> DirectClient:
    headers = {} if last_id is None else {"last-event-id": last_id}
    return DirectClient(world.views.app, target, token, headers)


def told(client: DirectClient) -> list[tuple[str, str | None]]:
    """Return each event's name, and the id of its conversation."""
    return [
        (event.name, event.data.get("id") or event.data.get("conversation", {}).get("id")) for event in client.events
    ]


async def test_first_what_there_is_then_what_changes(world):
    async with listen(world) as client:
        await client.until(lambda: "ready" in client.names)
        assert client.headers["content-type"].startswith("text/event-stream")
        assert client.headers["cache-control"] == "no-store"
        assert client.names == ["begin", "conversation", "conversation", "conversation", "ready"]
        assert {event.data["id"] for event in client.events[1:4]} == {"c1", "c2", "x1"}
        assert [event.id for event in client.events[:4]] == [None] * 4
        world.post(message("c1-m2", "c1", timestamp=instant(5)))
        await world.settle()
        await client.until(lambda: len(client.events) > 5)
        (change,) = client.events[5:]
        assert (change.name, change.data["message_count"]) == ("conversation", 2)
        assert change.id is not None
        async with world.client() as http:
            assert (await http.get("/conversations/c1")).json() == change.data


async def test_once_it_was_told_what_there_is_a_stream_counts_nothing_of_what_changes(world, monkeypatch):
    """It would do so with each event, whosever the changed conversations are."""
    counted = []

    async def count(view):
        counted.append(view.number)

    async with listen(world, "/events", ACME) as client:
        await client.until(lambda: "ready" in client.names)
        monkeypatch.setattr(PartitionView, "prepare_index", count)
        for key in ("c1", "c2"):
            name = await rename(world, key)
            await client.until(lambda name=name: client.events[-1].data.get("name") == name)
        assert not counted


async def test_changes_are_told_when_they_are_acknowledged_and_not_before(world):
    async with listen(world) as client:
        await client.until(lambda: "ready" in client.names)
        world.post(message("c1-m2", "c1"))
        await world.join_all()
        world.flush()
        await asyncio.sleep(0.01)
        assert client.names[-1] == "ready"
        world.acknowledge()
        await client.until(lambda: client.names[-1] == "conversation")


async def test_what_is_on_its_way_when_a_client_comes_is_told_once(world):
    world.post(message("c1-m2", "c1"))
    await world.join_all()
    world.flush()
    world.post(message("c2-m2", "c2"))
    await world.join_all()
    async with listen(world) as client:
        await client.until(lambda: "ready" in client.names)
        world.flush()
        world.acknowledge()
        world.post(message("x1-m2", "x1", "other"))
        await world.settle()
        await client.until(lambda: client.names[-1] == "conversation")
        assert {event.data["id"]: event.data["message_count"] for event in client.events[1:4]} == {
            "c1": 2,
            "c2": 2,
            "x1": 1,
        }
        assert [event.data["id"] for event in client.events[5:]] == ["x1"]


@pytest.mark.parametrize("token", [ALL, ACME])
async def test_however_many_messages_another_organization_says_are_in_a_conversation_none_is_shown(world, token):
    world.post(*(message(f"stray-{number}", "c1", "other", timestamp=instant(number)) for number in range(60)))
    await world.settle()
    async with listen(world, "/conversations/c1/events", token) as client:
        await client.until(lambda: "ready" in client.names)
        assert [one["id"] for one in client.events[0].data["messages"]] == ["c1-m1"]


async def test_a_client_that_comes_back_hears_what_it_missed(world):
    async with listen(world) as client:
        await client.until(lambda: "ready" in client.names)
        last_id = client.events[-1].id
    world.post(message("c1-m2", "c1"))
    world.delete("conversations", "x1")
    await world.settle()
    world.post(conversation("c3"))
    await world.join_all()
    world.flush()
    async with listen(world, last_id=last_id) as client:
        await client.until(lambda: "ready" in client.names)
        assert set(told(client)[:-1]) == {("conversation", "c1"), ("removed", "x1"), ("conversation", "c3")}
        assert len(client.events) == 4
        world.acknowledge()
        await world.settle()
        world.post(message("c2-m2", "c2"))
        await world.settle()
        await client.until(lambda: client.names[-1] == "conversation")
        assert told(client)[4:] == [("conversation", "c2")]


async def test_the_id_may_come_as_a_parameter_too(world):
    async with listen(world) as client:
        await client.until(lambda: "ready" in client.names)
        last_id = client.events[-1].id
    async with listen(world, f"/events?last_event_id={last_id}") as client:
        await client.until(lambda: "ready" in client.names)
        assert client.names == ["ready"]


@pytest.mark.parametrize(
    "wrong", ["nonsense", "0:1", "0:0,1:0,2:0,3:0@1", "0:999,1:999,2:999,3:999@{now}", "0:1@{now}"]
)
async def test_an_id_from_which_nobody_can_go_on_begins_anew(world, wrong):
    async with listen(world, last_id=wrong.format(now=int(time.time()))) as client:
        await client.until(lambda: "ready" in client.names)
        assert client.names[0] == "begin"
        assert len(client.events) == 5


async def test_filters_say_when_a_conversation_has_left(world):
    async with listen(world, "/events?awaiting_reply=true&organization_id=acme") as client:
        await client.until(lambda: "ready" in client.names)
        assert len(client.events) == 4
        world.post(
            message("c1-m2", "c1", direction="outgoing", timestamp=instant(5)),
            message("x1-m2", "x1", "other", timestamp=instant(5)),
        )
        await world.settle()
        await client.until(lambda: client.names[-1] == "removed")
        assert told(client)[4:] == [("removed", "c1")]


async def test_a_conversation_has_left_when_its_last_activity_is_earlier_than_was_known(world):
    world.post(message("c1-m2", "c1", timestamp=instant(9)))
    await world.settle()
    async with listen(world, f"/events?updated_since={instant(9)}") as client:
        await client.until(lambda: "ready" in client.names)
        world.delete("messages", "c1-m2")
        world.post(message("c2-m2", "c2", timestamp=instant(8)))
        await world.settle()
        await client.until(lambda: client.names[-1] == "removed")
        assert told(client) == [("begin", None), ("conversation", "c1"), ("ready", None), ("removed", "c1")]


async def test_a_list_that_is_asked_for_in_between_does_not_hide_that_a_conversation_has_left(world):
    async with listen(world, "/events?status=open") as client:
        await client.until(lambda: "ready" in client.names)
        world.post(conversation("c1", status="closed", updated_at=instant(7)))
        await world.join_all()
        async with world.client() as http:
            assert len((await http.get("/conversations?status=closed")).json()["conversations"]) == 1
        await world.settle()
        await client.until(lambda: client.names[-1] == "removed")


async def test_the_bound_hear_only_of_theirs(world):
    async with listen(world, token=ACME) as client:
        await client.until(lambda: "ready" in client.names)
        assert {key for name, key in told(client) if name == "conversation"} == {"c1", "c2"}
        last_id = client.events[-1].id
        world.post(message("x1-m2", "x1", "other"), conversation("c2", "other", updated_at=instant(5)))
        world.delete("conversations", "x1")
        await world.settle()
        world.post(message("c1-m2", "c1"))
        await world.settle()
        await client.until(lambda: client.names[-1] == "conversation")
        assert told(client)[4:] == [("removed", "c2"), ("conversation", "c1")]
    async with listen(world, token=ACME, last_id=last_id) as client:
        await client.until(lambda: "ready" in client.names)
        assert set(told(client)[:-1]) == {("removed", "c2"), ("conversation", "c1")}


async def test_one_conversation_with_its_messages(world):
    world.post(*(message(f"m{number:03}", "c1", timestamp=instant(number)) for number in range(60)))
    await world.settle()
    async with listen(world, "/conversations/c1/events") as client:
        await client.until(lambda: "ready" in client.names)
        snapshot, ready = client.events
        assert snapshot.name == "snapshot"
        async with world.client() as http:
            assert (await http.get("/conversations/c1")).json() == snapshot.data["conversation"]
            assert (await http.get("/conversations/c1/messages")).json()["messages"] == snapshot.data["messages"]
        world.post(
            message("m003", "c1", timestamp=instant(3), status={"read": instant(99)}, updated_at=instant(99)),
            message("m004", "c2", timestamp=instant(4), updated_at=instant(99)),
            message("x1-m2", "x1", "other"),
            # Of another organization: it is not in this conversation, and its id is nobody's business here.
            message("foreign", "c1", "other"),
        )
        world.delete("messages", "m005")
        await world.settle()
        await client.until(lambda: sum(len(event.data.get("removed_messages", [])) for event in client.events) == 2)
        changes = client.events[2:]
        assert {event.name for event in changes} == {"change"}
        assert [item["id"] for event in changes for item in event.data["messages"]] == ["m003"]
        assert {key for event in changes for key in event.data["removed_messages"]} == {"m004", "m005"}
        assert changes[-1].data["conversation"]["message_count"] == 59
        assert positions.parse(ready.id).positions.keys() == {partition_of("c1", 4)}
        last_id = changes[-1].id
    async with listen(world, "/conversations/c1/events", last_id=last_id) as client:
        await client.until(lambda: "ready" in client.names)
        assert client.names == ["ready"]
    world.post(message("m007", "c1", status={"sent": instant(98)}))
    await world.join_all()
    async with listen(world, "/conversations/c1/events", last_id=last_id) as client:
        await client.until(lambda: "ready" in client.names)
        assert client.names == ["snapshot", "ready"]
        await world.settle()
        world.delete("conversations", "c1")
        await world.settle()
        await client.until(lambda: client.names[-1] == "removed")
        assert told(client)[2:] == [("removed", "c1")]


async def test_a_conversation_that_changes_hands_is_gone_for_the_former(world):
    async with listen(world, "/conversations/c1/events", ACME) as client:
        await client.until(lambda: "ready" in client.names)
        world.post(conversation("c1", "other", updated_at=instant(9)))
        await world.settle()
        await client.until(lambda: client.names[-1] == "removed")
        assert "other" not in client.text


@pytest.mark.parametrize("token", [ALL, ACME])
async def test_what_was_shown_of_a_conversation_is_shown_again_when_it_is_another_owners(world, token):
    """Messages that are its no more, or are its now, have not changed themselves."""
    mine, theirs = message("mine", "n", timestamp=instant(1)), message("theirs", "n", "other", timestamp=instant(2))
    world.post(mine)
    await world.settle()
    async with listen(world, "/conversations/n/events", token) as client:
        await client.until(lambda: "ready" in client.names)
        async with listen(world, "/conversations/n/events") as all_of_it:
            await all_of_it.until(lambda: "ready" in all_of_it.names)
            world.post(theirs)
            await world.settle()
            await all_of_it.until(lambda: all_of_it.names[-1] == "snapshot")
            assert [one["id"] for one in all_of_it.events[-1].data["messages"]] == ["theirs"]
            world.post(conversation("n"), message("mine-2", "n", timestamp=instant(3)))
            await world.settle()
            await all_of_it.until(lambda: len(all_of_it.events[-1].data.get("messages", [])) == 2)
            assert [one["id"] for one in all_of_it.events[-1].data["messages"]] == ["mine-2", "mine"]
            assert all_of_it.names[-1] == "snapshot"
            assert all_of_it.events[-1].data["conversation"]["message_count"] == 2
            last_id = all_of_it.events[-1].id
    async with listen(world, "/conversations/n/events", last_id=last_id) as client:
        await client.until(lambda: "ready" in client.names)
        assert client.names == ["ready"]


async def test_messages_of_others_are_not_in_a_stream(world):
    world.post(message("stray", "c1", "other"))
    await world.settle()
    async with listen(world, "/conversations/c1/events", ACME) as client:
        await client.until(lambda: "ready" in client.names)
        world.post(message("stray", "c1", "other", status={"read": instant(9)}, updated_at=instant(9)))
        await world.settle()
        await client.until(lambda: client.names[-1] == "change")
        assert "stray" not in "".join(json.dumps(event.data.get("messages")) for event in client.events)


async def test_lost_partitions_are_waited_for_and_nothing_is_missed(world, monkeypatch):
    monkeypatch.setattr(events, "_RETRY_S", (0.01, 0.01))
    async with listen(world) as client, listen(world, "/conversations/c1/events") as one:
        for each in (client, one):
            await each.until(lambda each=each: "ready" in each.names)
        world.post(message("c1-m2", "c1"))
        await world.settle()
        await one.until(lambda: "change" in one.names)
        await client.until(lambda: len(client.events) == 6)
        world.tables.lost()
        for each in (client, one):
            await each.until(lambda each=each: each.names[-1] == "waiting")
        # Another worker joins and writes what comes meanwhile; then this one is the owner again.
        backlog = {}

        async def reach(feed_of_partition, position):
            feed_of_partition.extend(position, feed_of_partition.start, backlog.get(feed_of_partition.partition, []))

        monkeypatch.setattr(world.views._streams.backlog, "reach", reach)
        await world.own_and_index()
        partition = partition_of("c1", 4)
        world.post(message("c1-m3", "c1"))
        await world.settle()
        world.tables.lost()
        end = world.writer.ends[world.tables.states_topic, partition]
        backlog[partition] = [Recent(end, "c1", None)]
        await world.own_and_index()
        for each in (client, one):
            await each.until(lambda each=each: each.names[-1] == "ready" and "waiting" in each.names)
        assert client.names.count("begin") == 1
        after = client.events[client.names.index("waiting") + 1 :]
        assert [event.data.get("message_count") for event in after if event.name == "conversation"][-1:] == [3]
        assert one.events[-2].data["conversation"]["message_count"] == 3


async def test_what_cannot_be_resumed_after_a_loss_begins_anew(world, monkeypatch):
    monkeypatch.setattr(events, "_RETRY_S", (0.01, 0.01))

    async def reach(*_):
        pass

    monkeypatch.setattr(world.views._streams.backlog, "reach", reach)
    async with listen(world) as client:
        await client.until(lambda: "ready" in client.names)
        world.tables.lost()
        world.writer.ends[world.tables.states_topic, 0] += 7
        await world.own_and_index()
        await client.until(lambda: client.names.count("ready") == 2)
        assert client.names.count("begin") == 2
        assert client.names[-4:-1] == ["conversation"] * 3


@pytest.mark.parametrize(
    ("before", "after", "resumes"), [(7, 7, True), (7, 8, False), (None, 8, True), (7, None, True)]
)
async def test_positions_of_a_former_topic_are_not_resumed_from(world, before, after, resumes):
    """The new one may be longer by now. What is not known of either, as in ids of former versions, is not compared."""
    topic = world.tables.states_topic
    world.worker.identities = {} if before is None else {topic: before}
    async with listen(world) as client, listen(world, "/conversations/c1/events") as one:
        for each in (client, one):
            await each.until(lambda each=each: "ready" in each.names)
        last_ids = [each.events[-1].id for each in (client, one)]
    world.worker.identities = {} if after is None else {topic: after}
    for target, last_id, first in zip(
        ("/events", "/conversations/c1/events"), last_ids, ("begin", "snapshot"), strict=True
    ):
        async with listen(world, target, last_id=last_id) as client:
            await client.until(lambda client=client: "ready" in client.names)
            assert client.names[0] == ("ready" if resumes else first)


async def test_a_stream_that_lasts_starts_over_when_the_topic_was_created_again(world, monkeypatch):
    monkeypatch.setattr(events, "_RETRY_S", (0.01, 0.01))
    world.worker.identities = {world.tables.states_topic: 7}
    async with listen(world) as client:
        await client.until(lambda: "ready" in client.names)
        world.tables.lost()
        world.worker.identities = {world.tables.states_topic: 8}
        await world.own_and_index()
        await client.until(lambda: client.names.count("ready") == 2)
        assert client.names.count("begin") == 2
        assert positions.parse(client.events[-1].id).topic == 8


async def test_a_deletion_that_is_not_remembered_begins_anew_for_the_bound(world, monkeypatch):
    """Whose the deleted conversation was cannot be known any more: so nothing is told of it, neither way."""

    async def reach(feed_of_partition, position):
        found = [Recent(feed_of_partition.start, key, None) for key in ("gone",)]
        feed_of_partition.extend(position, feed_of_partition.start, found)

    monkeypatch.setattr(world.views._streams.backlog, "reach", reach)
    ends = {number: world.writer.ends[world.tables.states_topic, number] for number in range(4)}
    last_id = positions.text({number: max(end - 1, 0) for number, end in ends.items()}, time.time())
    world.tables.lost()
    await world.own_and_index()
    async with listen(world, token=ACME, last_id=last_id) as client:
        await client.until(lambda: "ready" in client.names)
        assert client.names[0] == "begin"
        assert "gone" not in client.text
    async with listen(world, last_id=last_id) as client:
        await client.until(lambda: "ready" in client.names)
        assert ("removed", "gone") in told(client)


async def test_a_conversation_that_may_have_changed_hands_begins_anew_for_the_bound(world, monkeypatch):
    """What is read from the state topic does not say whose it was: it may be theirs no more, or never have been."""
    world.post(conversation("c1", "other", updated_at=instant(9)))
    await world.settle()
    last_id = await after_a_takeover(world, monkeypatch, "c1")
    async with listen(world, token=ACME, last_id=last_id) as client:
        await client.until(lambda: "ready" in client.names)
        assert told(client)[:-1] == [("begin", None), ("conversation", "c2")]
    last_id = await after_a_takeover(world, monkeypatch, "c2")
    async with listen(world, token=ACME, last_id=last_id) as client:
        await client.until(lambda: "ready" in client.names)
        assert told(client)[:-1] == [("conversation", "c2")]


async def after_a_takeover(world: World, monkeypatch: pytest.MonkeyPatch, key: str) -> str:
    """Have the partitions taken over; return an id since which a conversation has changed before that."""

    async def reach(feed_of_partition, position):
        if feed_of_partition.partition == partition_of(key, 4):
            found = [Recent(feed_of_partition.start, key, None)]
            feed_of_partition.extend(position, feed_of_partition.start, found)

    monkeypatch.setattr(world.views._streams.backlog, "reach", reach)
    ends = {number: world.writer.ends[world.tables.states_topic, number] for number in range(4)}
    ends[partition_of(key, 4)] -= 1
    world.tables.lost()
    await world.own_and_index()
    return positions.text(ends, time.time())


async def test_no_more_is_remembered_however_many_come_back(monkeypatch):
    """Each could ask for a little more than the one before."""
    monkeypatch.setattr(backlog, "RECENT", 10)
    states = backlog.Backlog(Outside(), {}, "group", "states")
    monkeypatch.setattr(
        states, "_read", lambda _, start, until: [Recent(n + 1, "c", None) for n in range(start, until)]
    )
    followed = feed.Feed(0, 100)
    for position in (101, 100, 92, 85, 0, 90):
        await states.reach(followed, position)
    assert followed.start == 90
    assert len(followed._recent) == 10


async def test_what_an_emptied_topic_has_lost_is_not_filled_with_what_came_after_it():
    """The client would go on showing what was removed in between."""
    asked = []

    class Emptied(Clients):
        def consumer(self, config):
            asked.append(config["auto.offset.reset"])
            lost = Mock(error=Mock(return_value=KafkaError(KafkaError._AUTO_OFFSET_RESET)))
            return Mock(poll=Mock(return_value=lost), consume=Mock(return_value=[]))

    states = backlog.Backlog(Outside(clients=Emptied()), {}, "group", "states")
    followed = feed.Feed(0, 200)
    await states.reach(followed, 100)
    assert asked == ["error"]
    assert followed.start == 200


async def test_an_end_before_the_end_is_read_beyond():
    """A broker that has just begun to lead may tell of one. The client would never hear of what came after it."""
    at = "states", 0

    class Late(Clients):
        def consumer(self, config):
            del config
            end = SimulatedMessage(at, 101, None, None, None, KafkaError(KafkaError._PARTITION_EOF))
            records = [SimulatedMessage(at, offset, b"c%d" % offset, b"", None, None) for offset in (100, 101, 102)]
            return Mock(poll=Mock(side_effect=[records[0], end, *records[1:]]), consume=Mock(return_value=[]))

    states = backlog.Backlog(Outside(clients=Late()), {}, "group", "states")
    followed = feed.Feed(0, 103)
    await states.reach(followed, 100)
    assert [recent.position for recent in followed._recent] == [101, 102, 103]


async def test_silence_is_filled_with_heartbeats(world, monkeypatch):
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.02)
    async with listen(world) as client:
        await client.until(lambda: client.text.count(": heartbeat\n\n") >= 2)
        assert client.names[-1] == "ready"


async def test_a_client_that_takes_nothing_is_told_and_cut_off(world, monkeypatch):
    monkeypatch.setattr(events, "SLOW_S", 0.05)
    async with listen(world) as client:
        await client.until(lambda: "ready" in client.names)
        client.taking.clear()
        world.post(message("c1-m2", "c1"))
        await world.settle()
        await asyncio.sleep(0.2)
        assert world.views._streams.open
        client.taking.set()
        await client.until(lambda: client.ended)
        assert client.names[-1] == "too_slow"
        assert client.events[-1].id is None
    assert not world.views._streams.open
    assert not any(view.feed._everything for view in world.tables.current.views.values())


async def test_a_client_that_never_reads_again_does_not_stay(world, monkeypatch):
    monkeypatch.setattr(events, "SLOW_S", 0.02)
    monkeypatch.setattr(events, "FAREWELL_S", 0.02)
    async with listen(world) as client:
        await client.until(lambda: "ready" in client.names)
        client.taking.clear()
        world.post(message("c1-m2", "c1"))
        await world.settle()
        await asyncio.wait_for(client.task, 5)
        assert not client.ended
    assert not world.views._streams.open


class Clock:
    """The time that changes wait for a client."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        clock = SimpleNamespace(time=time.time, monotonic=lambda: self.now)
        for module in (events, subscription):
            monkeypatch.setattr(module, "time", clock)


async def rename(world: World, *keys: str) -> str:
    """Give conversations another name, one after the other; return the last one."""
    name = ""
    for key in keys:
        version = world.writer.count
        name = f"{key} {version}"
        world.post(conversation(key, None, name=name, updated_at=instant(version)))
        await world.settle()
    return name


async def test_however_long_what_there_is_takes_a_client_that_reads_it_is_not_cut_off(world, monkeypatch):
    """Whether a change in between is in what there is, or comes after it."""
    clock = Clock(monkeypatch)
    monkeypatch.setattr(subscription, "_PAGE", 1)
    go_on = hold(monkeypatch, subscription)
    async with listen(world) as client:
        await rename(world, "c1", "c2", "x1")
        clock.now += 30
        go_on.set()
        copy = Copy()

        def knows_all() -> bool:
            client.hear_all(copy)
            return copy.ready and all(one["name"] for one in copy.conversations.values())

        await client.until(knows_all)
        assert len(copy.conversations) == 3
        name = await rename(world, "c1")
        await client.until(lambda: client.events[-1].data.get("name") == name)
        assert client.names.count("begin") == 1


async def test_another_workers_part_may_take_long_as_well(world, monkeypatch):
    """Cut off at its `ready`, it would begin anew, and so would the client's stream: again and again."""
    peer, theirs = await beside(world, monkeypatch)
    clock = Clock(monkeypatch)
    monkeypatch.setattr(subscription, "_PAGE", 1)
    go_on = hold(monkeypatch, subscription)
    client = listen(world)
    for _ in range(100):
        await asyncio.sleep(0)
    assert peer.tables.current.views[3].feed._everything, "it is about to be told what there is"
    await rename(peer, *theirs)
    clock.now += 30
    go_on.set()
    async with client:
        await hears(client, peer, theirs[0])
        assert client.names.count("begin") == 1
        assert positions.parse(client.events[-1].id).positions.keys() == {0, 1, 2, 3}


async def test_another_workers_stream_that_ends_before_the_clients_begins_is_opened_again(world, monkeypatch):
    """The client's own worker is not ready yet. It would never hear of the other one's partitions again."""
    peer, theirs = await beside(world, monkeypatch)
    prepare, end = events.EventStream._prepare, events.EventStream._end_sources
    prepared, ended, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def held(stream, *args):
        await prepare(stream, *args)
        if stream in world.views._streams.open:
            prepared.set()
            await go_on.wait()

    def noted(stream):
        ended.set()
        end(stream)

    monkeypatch.setattr(events.EventStream, "_prepare", held)
    monkeypatch.setattr(events.EventStream, "_end_sources", noted)
    client = listen(world)
    await asyncio.wait_for(prepared.wait(), 5)
    peer.views._streams.close()
    await asyncio.wait_for(ended.wait(), 5)
    peer.views._streams.closing = False
    go_on.set()
    async with client:
        await hears(client, peer, theirs[0])
        assert client.names.count("begin") == 1


async def hears(client: DirectClient, peer: World, key: str) -> None:
    """Return when a client that is ready has heard of a change at another worker."""
    await client.until(lambda: "ready" in client.names)
    name = await rename(peer, key)
    await client.until(lambda: client.events[-1].data.get("name") == name)


async def beside(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[World, list[str]]:
    """Have another worker own two of the partitions; return it, and its conversations."""
    theirs = [key for key in map("p{}".format, range(9)) if partition_of(key, 4) in {2, 3}]
    peer = World()
    peer.own([2, 3])
    await peer.tables._indexing
    peer.post(*map(conversation, theirs))
    await peer.settle()
    world.tables.lost()
    world.own([0, 1])
    await world.tables._indexing
    world.worker.others = dict.fromkeys([2, 3], "http://127.0.0.1:2")
    monkeypatch.setattr(world.views._streams.peers, "stream", relayed_to(peer))
    return peer, theirs


def relayed_to(peer: World):
    """Return what opens streams of a worker in this process."""

    @asynccontextmanager
    async def stream(url, target, reader, partitions, headers, *, silence_s):
        del url, reader, silence_s
        given = {name.decode(): value.decode() for name, value in headers.items()}
        given[HOP.decode()] = ",".join(map(str, sorted(partitions)))
        async with DirectClient(peer.views.app, target.decode(), ALL, given) as client:
            yield SimpleNamespace(status=client.status, content=SimpleNamespace(iter_any=lambda: pieces(client)))

    async def pieces(client: DirectClient) -> AsyncIterator[bytes]:
        read = 0
        while not client.ended or read < len(client.text):
            await client.until(lambda read=read: client.ended or read < len(client.text))
            piece, read = client.text[read:], len(client.text)
            yield piece.encode()

    return stream


class Slow:
    """Takes one piece at a time of a stream that sends one event in each."""

    def __init__(self, client: DirectClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(events, "_EVENTS_AT_ONCE", 1)
        self._client = client
        client.taking.clear()

    async def take(self) -> None:
        taken = len(self._client.events)
        self._client.taking.set()
        self._client.taking.clear()
        await self._client.until(lambda: len(self._client.events) > taken)
        # The next one is on its way.
        await asyncio.sleep(0.01)


async def test_a_client_that_keeps_up_is_not_cut_off_because_something_always_waits(world, monkeypatch):
    clock = Clock(monkeypatch)
    async with listen(world) as client:
        await client.until(lambda: "ready" in client.names)
        ready = len(client.events)
        slow = Slow(client, monkeypatch)
        await rename(world, "c1", "c2")
        await asyncio.sleep(0.01)
        for key in ("x1", "c1", "c2", "x1", "c1"):
            clock.now += 15
            await rename(world, key)
            await slow.take()
        assert [key for _, key in told(client)[ready:]] == ["c1", "c2", "x1", "c1", "c2"]
        clock.now += 10
        await rename(world, "c1")
        clock.now += 11
        client.taking.set()
        await client.until(lambda: client.ended)
        assert client.names[-1] == "too_slow"


async def test_a_conversation_that_changes_all_the_time_is_told_in_its_turn(monkeypatch):
    """Behind the others each time, it would never be told. Nothing is missed by a client that comes back."""
    world = World(partitions=1)
    await world.own_and_index()
    world.post(*map(conversation, ("c1", "c2", "x1")))
    await world.settle()
    async with listen(world) as client:
        await client.until(lambda: "ready" in client.names)
        ready = len(client.events)
        slow = Slow(client, monkeypatch)
        first = await rename(world, "c1")
        await asyncio.sleep(0.01)
        last = await rename(world, "c2", "x1", "c2")
        await slow.take()
        await slow.take()
        assert [event.data["name"] for event in client.events[ready:]] == [first, last]
        last_id = client.events[-1].id
    async with listen(world, last_id=last_id) as client:
        await client.until(lambda: "ready" in client.names)
        assert ("conversation", "x1") in told(client)
        assert "begin" not in client.names


async def test_there_are_only_so_many_streams(world):
    world.views._streams.most = 1
    async with listen(world) as client:
        await client.until(lambda: "ready" in client.names)
        async with world.client() as http:
            answer = await http.get("/events")
            assert (answer.status_code, answer.json()["reason"]) == (503, "too_many_streams")
    async with listen(world) as client:
        await client.until(lambda: "ready" in client.names)


async def test_a_refused_stream_leaves_nothing_behind(world):
    async with world.client() as http:
        for path in ("/conversations/nope/events", "/events?nope=1"):
            assert (await http.get(path)).status_code in {400, 404}
        assert (await http.head("/events")).status_code == 200
        assert (await http.head("/conversations/c1/events")).status_code == 200
    assert not world.views._streams.open
    assert not any(view.feed._watchers or view.feed._everything for view in world.tables.current.views.values())


async def test_streams_end_when_the_worker_stops(world):
    async with listen(world) as client:
        await client.until(lambda: "ready" in client.names)
        world.views.stop()
        await client.until(lambda: client.ended)
    async with world.client() as http:
        assert (await http.get("/events")).status_code == 503


async def test_a_stream_ends_when_its_token_is_withdrawn(tmp_path):
    """And the streams of other tokens do not; nor does a file that cannot be read end any."""
    (kept, kept_line), (withdrawn, withdrawn_line) = new_token("kept"), new_token("withdrawn")
    file = tmp_path / "tokens"
    file.write_text(f"{kept_line}\n{withdrawn_line}\n")
    world = World(tokens=None, tokens_file=file)
    await world.own_and_index()
    async with listen(world, token=kept) as one, listen(world, token=withdrawn) as other:
        await one.until(lambda: "ready" in one.names)
        await other.until(lambda: "ready" in other.names)
        file.write_text("nonsense")
        world.views.access.reload()
        assert len(world.views._streams.open) == 2
        file.write_text(kept_line)
        world.views.access.reload()
        await other.until(lambda: other.ended)
        assert [stream.token.name for stream in world.views._streams.open] == ["kept"]


async def test_remembered_changes_of_an_organization_share_its_set(world):
    """Thousands are remembered of each partition: a set for each change would be half of their memory."""
    for status in ("open", "closed"):
        world.post(*(conversation(f"c{key}", f"org-{key % 2}", status=status) for key in range(10, 20)))
        await world.settle()
    recent = [change for view in world.tables.current.views.values() for change in view.feed._recent]
    own = [change.organizations for change in recent if change.organizations <= {"org-0", "org-1"}]
    assert len(own) == 20
    assert len(set(map(id, own))) == 2


async def test_only_so_much_is_remembered_and_older_ids_begin_anew(world, monkeypatch):
    monkeypatch.setattr(feed, "RECENT", 3)
    async with listen(world) as client:
        await client.until(lambda: "ready" in client.names)
        first_id = client.events[-1].id
        for number in range(5):
            world.post(message(f"c1-n{number}", "c1"))
            await world.settle()
        await client.until(lambda: len(client.events) == 10)
        recent_id = client.events[-2].id

    async def reach(*_):
        pass

    monkeypatch.setattr(world.views._streams.backlog, "reach", reach)
    for last_id, names in [
        (recent_id, ["conversation", "ready"]),
        (first_id, ["begin"] + ["conversation"] * 3 + ["ready"]),
    ]:
        async with listen(world, last_id=last_id) as client:
            await client.until(lambda client=client: "ready" in client.names)
            assert client.names == names


KEYS = ["a", "b", "c"]
actions = st.one_of(
    st.tuples(st.just("message"), st.sampled_from(KEYS), st.integers(0, 4), st.sampled_from(["incoming", "outgoing"])),
    st.tuples(
        st.just("row"), st.sampled_from(KEYS), st.sampled_from(["open", "closed"]), st.sampled_from(["acme", "other"])
    ),
    st.tuples(st.just("delete"), st.sampled_from(KEYS)),
    st.tuples(st.sampled_from(["join", "flush", "settle", "list", "let"])),
    st.tuples(st.just("acknowledge"), st.integers(1, 5)),
)


@given(
    st.lists(actions, max_size=25),
    st.lists(actions | st.just(("reconnect",)), max_size=25),
    st.sampled_from(["", "?status=open", "?awaiting_reply=true", f"?updated_since={instant(9)}"]),
    st.sampled_from([ALL, ACME]),
)
def test_whenever_a_client_comes_and_goes_it_knows_in_the_end_what_there_is(before, during, query, token):
    """And is told nothing that it knows already, unless it came back, or another organization wrote into it."""
    note(f"{before} {during} {query!r} {token}")
    asyncio.run(_lives(before, during, query, token))


async def _lives(before, during, query, token):
    world = World(partitions=2)
    await world.own_and_index()
    history = _History(world)
    for action in before:
        await history.act(action)
    copy = Copy()
    client = listen(world, f"/events{query}", token)
    for action in [*during, ("settle",)]:
        if action[0] == "reconnect":
            await client.until(lambda heard=client: "ready" in heard.names)
            client.hear_all(copy)
            assert history.came_back or history.strangers or not copy.repeats
            await client.__aexit__()
            history.came_back = True
            client = listen(world, f"/events{query}", token, last_id=copy.last_id)
            await client.until(lambda heard=client: heard.status is not None)
        else:
            await history.act(action)
    async with world.client(token) as http:
        there = (await http.get(f"/conversations{query}")).json()["conversations"]

    def knows_all() -> bool:
        client.hear_all(copy)
        return copy.ready and copy.conversations == {item["id"]: item for item in there}

    await client.until(knows_all)
    await asyncio.sleep(0)
    assert knows_all()
    assert history.came_back or history.strangers or not copy.repeats
    await client.__aexit__()


class _History:
    """Makes things happen."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.version = 0
        self.came_back = False
        #: Whether a conversation has been another organization's than its messages.
        self.strangers = False

    async def act(self, action: tuple) -> None:
        self.version += 1
        kind, *rest = action
        await getattr(self, f"_{kind}")(*rest)

    async def _message(self, key: str, number: int, direction: str) -> None:
        at = instant(self.version)
        self.world.post(message(f"{key}{number}", key, direction=direction, timestamp=at, updated_at=at))

    async def _row(self, key: str, status: str, organization: str) -> None:
        self.strangers = self.strangers or organization != "acme"
        self.world.post(conversation(key, organization, status=status, updated_at=instant(self.version)))

    async def _delete(self, key: str) -> None:
        await self.world.settle()
        self.world.delete("conversations", key)
        await self.world.settle()

    async def _join(self) -> None:
        await self.world.join_all()

    async def _flush(self) -> None:
        await self.world.join_all()
        self.world.flush()

    async def _acknowledge(self, most: int) -> None:
        self.world.acknowledge(most)

    async def _settle(self) -> None:
        await self.world.settle()

    async def _list(self) -> None:
        async with self.world.client() as http:
            await http.get("/conversations")

    async def _let(self) -> None:
        await asyncio.sleep(0.001)
