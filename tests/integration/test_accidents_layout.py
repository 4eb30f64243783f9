"""Somebody changes the sources: more partitions, which are refused, for keys would move, or one source less."""

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions

from avro.catalogue import TOPICS
from openbsp.kafka.topics import Topics
from support import look
from support.join_cases import inserted, opened
from support.join_fleet import TOKEN, fleet
from support.join_outcome import await_committed, expected_of, outcome_of, records
from support.join_sources import Sources
from support.wait import eventually

pytestmark = pytest.mark.integration

EVENTS = [
    *(opened(f"c{number}", 1) for number in range(10)),
    *(inserted(f"m{number}", f"c{number % 10}", "outgoing", 2) for number in range(40)),
]


def is_deleted(admin: AdminClient, group: str) -> bool:
    """Delete a group, if its last member has left it."""
    try:
        admin.delete_consumer_groups([group])[group].result(10)
    except KafkaException:
        return False
    return True


def metric(url: str, name: str) -> float:
    return look.metric(url, TOKEN, name)


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_more_partitions_are_refused_and_nothing_is_joined(contract, tmp_path, store):
    """Whether the group's positions are there to tell, or somebody has deleted the group."""
    Sources(contract).send(EVENTS)
    with fleet(contract, tmp_path, 1, STREAMS_STORE=store) as running:
        await_committed(contract)
        assert outcome_of(contract).differences(expected_of(EVENTS)) == []
        running.remove(running.members[0])
    admin = AdminClient({**contract.kafka.librdkafka(), "log_level": 0})
    more = contract.topics.partitions + 3
    for made in admin.create_partitions([NewPartitions(contract.topic(name), more) for name in TOPICS]).values():
        made.result(10)
    written = [len(records(contract, name)) for name in ("message-state", "conversation-state")]
    for group_is_there in (True, False):
        if not group_is_there:
            group = f"{contract.prefix}streams"
            eventually(lambda group=group: is_deleted(admin, group))
        with fleet(contract, tmp_path, 0, STREAMS_STORE=store, TOPIC_PARTITIONS=str(more)) as running:
            running.add()
            sentence = f"made with {contract.topics.partitions} partitions, the topics have {more}"
            eventually(lambda running=running, sentence=sentence: any(sentence in line for line in running.lines))
            eventually(lambda running=running: any("streams repartition" in line for line in running.reasons))
            url = running.urls[0]
            eventually(lambda url=url: metric(url, "streams_partitions_changed") == contract.topics.partitions)
            assert running.remove(running.members[0]) == 0
    assert [len(records(contract, name)) for name in ("message-state", "conversation-state")] == written
    print(f"figure: states written after the change: 0, to {written} before; the operator saw: {sentence}")


@pytest.mark.parametrize("committed", [True, False])
def test_a_worker_that_was_assigned_its_sources_without_one_is_assigned_all_of_them_again(
    contract, tmp_path, committed
):
    """It ends, and comes back by name while its session lasts: it must not be given what it had.

    Nor may it fill its log until then, whether or not anything can be committed.
    """
    with fleet(contract, tmp_path, 1, STREAMS_STORE="memory", STREAMS_SESSION_TIMEOUT_S="120") as running:
        if committed:
            Sources(contract).send(EVENTS)
            await_committed(contract)
        topic = contract.topic("conversations")
        admin = AdminClient({**contract.kafka.librdkafka(), "log_level": 0})
        admin.delete_topics([topic])[topic].result(10)
        eventually(lambda: any("not assigned together" in line for line in running.reasons), within=30)
        noise = [line for line in running.lines if '"event":"aiokafka.' in line]
        print(f"figure: {len(noise)} lines of aiokafka until the worker has ended")
        assert len(noise) < 100
        Topics(contract.kafka, contract.topics).apply()
        running.wait_ready(60)
        Sources(contract).send(EVENTS)
        await_committed(contract)
        assert outcome_of(contract).differences(expected_of(EVENTS)) == []
