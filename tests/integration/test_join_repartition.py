"""A move to more partitions, beside a running group: the states are those of all events, each in one partition."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, DeletedRecords, OffsetSpec

from avro.catalogue import TOPICS
from openbsp.kafka.registry import Registry
from openbsp.kafka.topics import Topics
from support.join_cases import inserted, message, opened, status_of
from support.join_fleet import fleet
from support.join_outcome import await_committed, expected_of, outcome_of
from support.join_sources import Sources
from support.wait import eventually

pytestmark = pytest.mark.integration

MORE = 5


@pytest.fixture
def few(contract):
    """Make topics with 2 partitions."""
    few = replace(
        contract, topics=contract.topics.model_copy(update={"prefix": f"{contract.prefix}a.", "partitions": 2})
    )
    yield from made(few)


@pytest.fixture
def more(contract):
    """Make the topics to move to."""
    more = replace(
        contract, topics=contract.topics.model_copy(update={"prefix": f"{contract.prefix}b.", "partitions": MORE})
    )
    yield from made(more)


def made(contract):
    Topics(contract.kafka, contract.topics).apply()
    with Registry(contract.registry, contract.prefix) as registry:
        registry.register()
    yield contract
    admin = AdminClient(contract.kafka.librdkafka())
    for gone in admin.delete_topics([contract.topic(name) for name in TOPICS]).values():
        gone.result(10)


def events(first: int, second: int):
    rows = range(first, first + 60)
    yield from (opened(f"c{number % 15}", second) for number in range(15))
    yield from (inserted(f"m{number}", f"c{number % 15}", "outgoing", second + 1) for number in rows)
    yield from (status_of(f"m{number}", "delivered", second + 2) for number in rows)


def repartition(few, more, *options: str):
    command = [
        *(sys.executable, "-m", "streams", "repartition", "--to-prefix", more.prefix),
        *("--to-app-id", f"{more.prefix}streams", "--to-partitions", str(MORE), *options),
    ]
    own = {"STREAMS_TOKENS": "t=token-of-the-tests", "STREAMS_APP_ID": f"{few.prefix}streams"}
    environment = {**os.environ, **few.environment, **own}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def forget_events(few) -> None:
    """Delete what the sources hold, as retention does: only the tables still know it."""
    admin = AdminClient({**few.kafka.librdkafka(), "log_level": 0})
    places = [TopicPartition(few.topic(name), number) for name in ("messages", "conversations") for number in range(2)]
    ends = admin.list_offsets({tp: OffsetSpec.latest() for tp in places})
    doomed = [TopicPartition(tp.topic, tp.partition, end.result(10).offset) for tp, end in ends.items()]
    for gone in admin.delete_records(doomed).values():
        assert isinstance(gone.result(10), DeletedRecords)


@pytest.mark.timeout(280)
def test_a_move_from_2_to_5_partitions_beside_a_running_group(few, more, tmp_path):
    before, during, after = list(events(0, 1)), list(events(40, 10)), list(events(80, 20))
    during.append(message("m3", "delete"))
    former, new = Sources(few), Sources(more)
    former.send(before)
    for name in ("few", "more"):
        (tmp_path / name).mkdir()
    with fleet(few, tmp_path / "few", 1, STREAMS_STORE="memory") as old:
        await_committed(few)
        forget_events(few)
        former.send(during)
        dry = repartition(few, more, "--dry-run")
        assert (dry.returncode, dry.stderr) == (0, ""), dry
        assert "streams-messages-changelog: at most" in dry.stdout
        assert outcome_of(more).messages == {}
        copied = repartition(few, more)
        assert copied.returncode == 0, copied
        with fleet(more, tmp_path / "more", 2, STREAMS_STORE="memory") as running:
            former.send(after[:100])
            again = repartition(few, more)
            assert again.returncode == 0, again
            assert "100 more events copied" in again.stdout
            new.send(after[100:])
            await_committed(more)
            everything = [*before, *during, *after]
            eventually(lambda: outcome_of(more).differences(expected_of(everything)) == [], within=60)
            print(
                f"figure: lost: 0 of the states of {len(everything)} events; the operator saw: 100 more events copied"
            )
            assert [running.remove(member) for member in list(running.members)] == [0, 0]
        assert old.remove(old.members[0]) == 0


def test_it_is_refused_once_workers_have_joined_the_new_topics(few, more, tmp_path):
    with fleet(more, tmp_path, 1, STREAMS_STORE="memory") as running:
        Sources(more).send([opened("c1", 1)])
        await_committed(more)
        refused = repartition(few, more)
        assert refused.returncode == 1
        assert "run already" in refused.stderr
        running.remove(running.members[0])
    refused = repartition(few, more)
    assert refused.returncode == 1
    assert "have joined these topics before" in refused.stderr
