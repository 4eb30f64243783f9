"""A move to more partitions, beside a running group: the states are those of all events, each in one partition."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, DeletedRecords, OffsetSpec

from avro.catalogue import TOPICS
from bridge.cluster import Cluster
from bridge.suppressions import topic as suppressions
from bridge.suppressions.hashes import Contact
from openbsp.kafka.registry import Registry
from openbsp.kafka.topics import Topics
from openbsp.kafka.writing import write_one
from support.join_cases import inserted, message, opened, status_of
from support.join_fleet import fleet
from support.join_outcome import await_committed, expected_of, outcome_of, records
from support.join_sources import Sources
from support.wait import eventually

pytestmark = pytest.mark.integration

MORE = 5
KEY = b"the key of a deployment, for tests alone"


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


class Lists:
    """What bridges and commands keep in topics of a contract: contacts that stay out, and audits."""

    def __init__(self, contract) -> None:
        registry = Registry(contract.registry, contract.prefix)
        self._contract, self._cluster = contract, Cluster(contract.kafka, registry, contract.topics)

    def suppress(self, *addresses: str) -> None:
        for contact in map(Contact, addresses):
            suppressions.add(self._cluster, KEY, contact)
            suppressions.suppress_rows(self._cluster, KEY, contact, [(f"row-{contact.address}", "org-1")])

    def lift(self, address: str) -> None:
        assert suppressions.lift(self._cluster, KEY, Contact(address))

    def audit(self, run: str) -> None:
        topic = self._contract.topic("audits")
        write_one(self._contract.kafka, topic, run.encode(), b"{}", [("signature", run.encode())])

    def suppressed(self) -> set:
        found = records(self._contract, "suppressions")
        # Else a lift is compacted apart from what it lifts.
        assert len({(record.key(), record.partition()) for record in found}) == len({record.key() for record in found})
        return set(suppressions.entries(self._cluster))

    def audits(self) -> list:
        found = records(self._contract, "audits")
        return sorted((record.key(), record.value(), tuple(record.headers() or ())) for record in found)


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
    lists, moved = Lists(few), Lists(more)
    former.send(before)
    lists.suppress("+1", "+2", "+3")
    lists.lift("+2")
    lists.audit("run-1")
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
        assert (moved.suppressed(), moved.audits()) == (lists.suppressed(), lists.audits())
        lists.suppress("+4")
        lists.lift("+3")
        lists.audit("run-2")
        with fleet(more, tmp_path / "more", 2, STREAMS_STORE="memory") as running:
            former.send(after[:100])
            again = repartition(few, more)
            assert again.returncode == 0, again
            # The 100 events; a contact with its rows put on the list, and another lifted from it; an audit.
            assert "107 more records copied" in again.stdout
            assert (moved.suppressed(), moved.audits()) == (lists.suppressed(), lists.audits())
            moved.lift("+4")
            lifted = lists.suppressed() - moved.suppressed()
            assert {entry.erased_with or entry.hash for entry in lifted} == {Contact("+4").hash(KEY)}
            new.send(after[100:])
            await_committed(more)
            everything = [*before, *during, *after]
            eventually(lambda: outcome_of(more).differences(expected_of(everything)) == [], within=60)
            print(
                f"figure: lost: 0 of the states of {len(everything)} events; the operator saw: 107 more records copied"
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


def test_a_copy_that_goes_on_after_retention_says_what_it_lacks(few, more):
    sources = Sources(few)
    sources.send(list(events(0, 1)))
    assert repartition(few, more).returncode == 0
    sources.send(list(events(60, 1)))
    forget_events(few)
    again = repartition(few, more)
    assert (again.returncode, "more records copied" in again.stdout) == (1, False)
    assert "records were deleted before they were copied" in again.stderr
    assert "Traceback" not in again.stderr
