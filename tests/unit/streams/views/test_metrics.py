"""The metrics of a worker: each is declared with a sentence, and says what has happened."""

import time
from collections.abc import Mapping

import pytest
from confluent_kafka import KafkaError, KafkaException
from prometheus_client.parser import text_string_to_metric_families

from openbsp.errors import RegistryError
from streams.engine.lag import Lag
from streams.metrics import describe
from streams.schema_ids import SchemaIds
from support.views_world import ACME, ALL, RECEIVED_AT, World, conversation, message

pytestmark = pytest.mark.anyio

METRICS_TOKEN = "token-that-only-observes"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def samples(world: World, token: str = ALL) -> dict[tuple[str, ...], float]:
    """Return all samples by name and label values."""
    async with world.client(token) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    families = text_string_to_metric_families(answer.text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


async def test_what_is_joined_and_written_is_counted():
    world = World(metrics_token=METRICS_TOKEN)
    await world.own_and_index()
    world.post(conversation("c"), message("m1", "c"), message("m2", "c"))
    world.post({**message("m3", "c"), "data": {**message("m3", "c")["data"], "id": "m3"}})
    await world.settle()
    found = await samples(world)
    assert found["streams_records_consumed_total", "messages"] == 3
    assert found["streams_records_applied_total", "messages"] == 3
    assert found["streams_records_applied_total", "conversations"] == 1
    assert found["streams_records_applied_total", "streams-contributions"] == 3
    assert found["streams_records_written_total", "openbsp.conversation-state"] >= 1
    assert found["streams_records_written_total", "openbsp.status-changes"] == 3
    assert found["streams_partitions_owned",] == found["streams_partitions_ready",] == 4
    assert found["streams_conversations_indexed",] == 1
    assert found["streams_coalesce_seconds_count",] >= 1


async def test_the_time_from_webhook_to_state_is_measured_through_both_stages():
    """The world's events were received in 1970: what is measured is that long."""
    world = World()
    await world.own_and_index()
    world.post(message("m1", "c"))
    await world.settle()
    found = await samples(world)
    assert found["streams_event_seconds_count",] >= 1
    assert found["streams_event_seconds_sum",] >= time.time() - RECEIVED_AT / 1_000_000 - 60


async def test_what_standby_copies_lack_is_said_until_partitions_are_distributed_again():
    world = World(metrics_token=METRICS_TOKEN)
    await world.own_and_index()
    world.app.hooks.followed({("streams-messages-changelog", 2): 7})
    found = {name: value for name, value in (await samples(world)).items() if name[0] == "streams_standby_lag_records"}
    assert [(set(name[1:]), value) for name, value in found.items()] == [({"streams-messages-changelog", "2"}, 7)]
    world.app.hooks.lost()
    assert not any(name[0] == "streams_standby_lag_records" for name in await samples(world))


async def test_dead_letters_are_counted_by_reason():
    world = World()
    await world.own_and_index()
    world._arrive(world.contract.topic("messages"), b"m", b"no event")
    await world.settle()
    found = await samples(world)
    assert [value for (name, *_), value in found.items() if name == "streams_dead_letters_total"] == [1]
    assert found["streams_records_applied_total", "messages"] == 1


async def test_requests_are_counted_by_endpoint_and_status_never_by_what_was_asked_for():
    world = World()
    await world.own_and_index()
    async with world.client() as client:
        for path in ("/conversations/secret-1", "/conversations/secret-2", "/nope/secret-3", "/conversations"):
            await client.get(path)
        await client.get("/conversations", headers={"Authorization": "Bearer wrong"})
    found = await samples(world)
    assert found["streams_requests_total", "/conversations/{conversation_id}", "404"] == 2
    assert found["streams_requests_total", "/conversations", "200"] == 1
    assert found["streams_requests_total", "other", "404"] == 1
    assert found["streams_requests_total", "other", "401"] == 1
    assert found["streams_request_seconds_count", "/conversations/{conversation_id}"] == 2
    assert not any("secret" in label for sample in found for label in sample)


async def test_who_may_read_metrics():
    """A token for everything or the metrics token, which opens nothing else; not one bound to organizations."""
    world = World(metrics_token=METRICS_TOKEN)
    await world.own_and_index()
    assert await samples(world, METRICS_TOKEN)
    async with world.client(METRICS_TOKEN) as client:
        assert (await client.get("/conversations")).status_code == 401
    async with world.client(ACME) as client:
        assert (await client.get("/metrics")).json()["reason"] == "not_permitted"
    async with world.client("token-of-nobody-here") as client:
        assert (await client.get("/metrics")).status_code == 401


async def test_without_tables_there_are_metrics_all_the_same():
    found = await samples(World())
    assert found["streams_partitions_owned",] == 0


def test_every_metric_has_a_sentence_and_a_name_of_its_own():
    lines = describe()
    assert len({line.name for line in lines}) == len(lines)
    for line in lines:
        assert line.name.startswith("streams_")
        assert line.meaning.endswith(".")


class Known:
    """Ends that are what they are said to be."""

    def __init__(self, ends: Mapping[tuple[str, int], int]) -> None:
        self.ends = ends

    async def of(self, partitions, timeout_s):
        del partitions, timeout_s
        if self.ends is None:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return self.ends


class Position:
    """A join that is where it is said to be."""

    def __init__(self, position: int) -> None:
        self.at = position

    def position(self, topic: str, partition: int) -> int:
        del topic, partition
        return self.at


async def test_a_partition_is_stalled_only_while_records_wait_and_nothing_moves():
    ends, join = Known({("t", 3): 10}), Position(10)
    lag = Lag(ends, stalled_after_s=-1)
    lag.follow(join, [("t", 3)])
    await lag.look()
    assert (lag.behind(), lag.stalled()) == ({("t", 3): 0}, frozenset())
    ends.ends = {("t", 3): 12}
    await lag.look()
    assert (lag.behind(), lag.stalled()) == ({("t", 3): 2}, {3})
    join.at = 11
    assert lag.stalled() == frozenset()
    await lag.look()
    assert lag.stalled() == {3}
    ends.ends = None
    await lag.look()
    assert lag.behind() == {("t", 3): 1}
    assert lag.stalled() == {3}
    lag.follow(None)
    assert lag.stalled() == frozenset()
    assert lag.behind() == {}


async def test_a_partition_is_not_stalled_before_the_time_has_passed():
    lag = Lag(Known({("t", 0): 5}), stalled_after_s=60)
    lag.follow(Position(1), [("t", 0)])
    await lag.look()
    assert lag.behind() == {("t", 0): 4}
    assert lag.stalled() == frozenset()


async def test_changelogs_that_are_written_again_are_counted_by_table():
    world = World()
    await world.own_and_index()
    for _ in range(2):
        world.app.hooks.log_repaired("streams-messages-changelog")
    assert (await samples(world))["streams_changelogs_repaired_total", "streams-messages-changelog"] == 2


async def test_a_worker_says_when_it_was_started():
    before = time.time()
    world = World()
    await world.own_and_index()
    assert before <= (await samples(world))["streams_started_timestamp_seconds",] <= time.time()


async def test_a_registry_without_the_schemas_is_said_with_what_to_do():
    answers = [RegistryError("not registered", refused=True, absent=True), {"a": 1}]

    async def ask() -> dict[str, int]:
        answer = answers.pop(0)
        if isinstance(answer, RegistryError):
            raise answer
        return answer

    world = World()
    await world.own_and_index()
    assert (await samples(world))["streams_schema_ids_known",] == 1
    world.views.schemas = schemas = SchemaIds(ask, lambda _: None, {"a": 1})
    await schemas.look()
    assert (await samples(world))["streams_schema_ids_known",] == 0
    async with world.client() as client:
        answer = await client.get("/readyz")
        # It goes on answering, so nothing that looks at the status takes it away from its readers.
        assert answer.status_code == 200
        assert answer.json()["status"] == "degraded"
        (remark,) = answer.json()["remarks"]
        assert "`bridge schemas register`" in remark
        print(f"\nfigure: the operator saw: {answer.json()['status']}, streams_schema_ids_known 0, {remark}")
        await schemas.look()
        assert (await client.get("/readyz")).json() == {"status": "ready"}
    assert (await samples(world))["streams_schema_ids_known",] == 1


async def test_what_states_lack_is_said_although_the_worker_is_ready():
    world = World()
    await world.own_and_index()
    world.app.hooks.records_lost("openbsp.messages", 40)
    world.app.hooks.position_refused("openbsp.conversations")
    world.app.hooks.position_refused("openbsp.conversations")
    async with world.client() as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    lost, refused = answer.json()["remarks"]
    assert lost.startswith("40 records of openbsp.messages were deleted before they were read")
    assert refused.startswith("2 committed positions in openbsp.conversations were not followed")
    assert all("`bridge reconcile`" in remark for remark in (lost, refused))
    assert (await samples(world))["streams_schema_ids_known",] == 1


async def test_a_worker_whose_join_stands_still_is_not_ready():
    world = World(stalled_after_s=0.001)
    await world.own_and_index()
    async with world.client() as client:
        assert (await client.get("/readyz")).status_code == 200
        topic = world.tables.messages_topic
        world.tables._lag._known = {(topic, 2): 7}
        world.tables._lag._standing[topic, 2] = world.tables._lag._standing[topic, 2]._replace(since=0.0)
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["partitions"]) == (503, [2])
        assert (await client.get("/conversations")).status_code == 200
    found = await samples(world)
    assert found["streams_partitions_stalled",] == 1
    assert found["streams_lag_records", "2", "messages"] == 7
