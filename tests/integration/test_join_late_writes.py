"""Writes of a worker that reach the broker after others have taken its partitions over, and moved on, change nothing.

The network holds back what the worker sends, until its session has run out and others have done its work and more.
That is what a worker that stood still does when it wakes up, with nothing left to chance.
"""

import pytest
from confluent_kafka import Consumer, TopicPartition

from support.join_cases import at, conversation, inserted, message, opened, status_of
from support.join_fleet import TOKEN, Fleet
from support.join_outcome import await_committed, expected_of, outcome_of
from support.join_sources import Sources
from support.join_views import Views
from support.wait import eventually

pytestmark = pytest.mark.integration

SESSION_S = 3
HELD_BYTES = 10_000
LOGS = ("message-state", "conversation-state", "streams-messages-changelog", "streams-conversations-changelog")


def ends(contract) -> int:
    """Return how many records the guarded logs hold."""
    consumer = Consumer({**contract.kafka.librdkafka(), "group.id": "ends", "log_level": 0})
    try:
        partitions = [TopicPartition(contract.topic(log), p) for log in LOGS for p in range(contract.topics.partitions)]
        return sum(consumer.get_watermark_offsets(partition, timeout=10)[1] for partition in partitions)
    finally:
        consumer.close()


def rows(generation: int) -> list:
    """Return events of the same rows in each generation, every column newer than before."""
    second = 1_000 * generation
    events = []
    for n in range(40):
        c, m = f"c{n}", f"m{n}"
        events += [
            opened(c, second, extra={"generation": generation})
            if generation == 1
            else conversation(c, name=f"name {generation}", updated_at=at(second)),
            inserted(m, c, "incoming", second, agent_id=f"agent {generation}"),
            inserted(f"{m}-{generation}", c, "outgoing", second + 1),
            status_of(m, ["pending", "accepted", "sent", "delivered", "read"][generation], second + 2),
            message(f"{m}-{generation}", **{f"column {generation}": n}, updated_at=at(second + 3)),
        ]
    return events


@pytest.mark.parametrize(
    ("store", "owner_dies"),
    [
        pytest.param("memory", True, id="the owner dies before it can repair"),
        pytest.param("rocksdb", False, id="the owner goes on"),
        pytest.param("rocksdb", True, marks=pytest.mark.long, id="the owner dies before it can repair, on disk"),
        pytest.param("memory", False, marks=pytest.mark.long, id="the owner goes on, in memory"),
    ],
)
def test_late_writes_of_a_former_owner_change_nothing(network, here, tmp_path, store, owner_dies):
    _, slow = network
    sources = Sources(here)
    variables = {"STREAMS_STORE": store, "STREAMS_SESSION_TIMEOUT_S": str(SESSION_S)}
    events = rows(1)
    with Fleet(here, tmp_path, **variables) as fleet:
        late = fleet.add(KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{slow.port}")
        late.part.wait_ready()
        sources.send(events)
        await_committed(here)

        slow.hold()
        before = ends(here)
        sources.send(rows(2))
        events += rows(2)
        eventually(lambda: slow.held > HELD_BYTES)  # its states are on their way
        late.wanted = False
        fleet.kill(late)
        owner = fleet.add()
        owner.part.wait_ready()
        sources.send(rows(3))
        events += rows(3)
        await_committed(here)
        assert outcome_of(here).differences(expected_of(events)) == []

        written = ends(here)
        slow.release()
        eventually(lambda: slow.held == 0)
        if owner_dies:
            # Its successor has to know that what came last is not what counts.
            eventually(lambda: ends(here) > written)
            owner.wanted = False
            fleet.kill(owner)
            owner = fleet.add()
            owner.part.wait_ready()
        else:
            eventually(lambda: ends(here) > written)
        print(f"{written - before} records by the new owner, then {ends(here) - written} late ones")

        expected = expected_of(events)
        eventually(lambda: agrees(here, expected))
        with Views([owner.part.url], TOKEN) as views:
            assert views.differences(expected) == []
        assert fleet.remove(owner) == 0
        # Whoever has nothing but the changelogs knows the same.
        heir = fleet.add(STREAMS_STORE="memory")
        heir.part.wait_ready()
        sources.send(rows(4))
        await_committed(here)
        assert outcome_of(here).differences(expected_of([*events, *rows(4)])) == []


def agrees(contract, expected) -> bool:
    found = outcome_of(contract).differences(expected)
    assert not found, f"{len(found)} differences, such as {found[:5]}"
    return True
