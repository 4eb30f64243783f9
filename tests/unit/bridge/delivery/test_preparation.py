"""Topics and schema ids that an operator's accident changes: noticed, named, waited for; receiving never stops."""

import asyncio
import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from bridge.delivery import preparation, schema_watch, topic_watch
from bridge.delivery.spool.file import SpoolFile
from bridge.delivery.spool.spool import Spool
from openbsp.kafka.findings import NO_ID, Finding, Grade
from support.fake_kafka import IDS, TIMED_OUT, FakeKafka, FakeRegistry, FakeTopics
from support.ingress import message, running_ingress
from support.wait import eventually


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_watch, "_EVERY_S", 0.05)
    monkeypatch.setattr(schema_watch, "_EVERY_S", 0.05)


def keys(kafka: FakeKafka) -> list[str]:
    return [record.key.decode() for record in kafka.topic("messages")]


def ids(kafka: FakeKafka) -> list[int]:
    """Return the schema id of each message in the topic."""
    return [int.from_bytes(record.value[1:5]) for record in kafka.topic("messages")]


def test_with_wrong_topics_it_starts_spools_and_publishes_once_they_are_repaired(tmp_path: Path):
    topics = FakeTopics(["messages: 3 partitions"])
    with running_ingress(tmp_path, topics=topics) as ingress:
        assert ingress.post(message("kept")).json()["disposition"] == "spooled"
        details = ingress.details()
        assert (details["status"], details["faults"]) == ("degraded", ["kafka"])
        assert details["waiting_for"] == {"kafka": "messages: 3 partitions"}
        assert ingress.kafka.attempts == 0
        topics.faults = []
        eventually(lambda: keys(ingress.kafka) == ["kept"])
        eventually(lambda: ingress.details()["status"] == "ready")


@pytest.mark.parametrize("server", ["kafka", "schema_registry"])
def test_a_server_whose_client_never_comes_back_is_told_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, server: str
):
    monkeypatch.setattr(topic_watch, "_ANSWER_S", 0.05)
    topics, registry, held = FakeTopics(), FakeRegistry(), threading.Event()
    registry.patience_s = 0.05
    asked, name = (topics, "inspect") if server == "kafka" else (registry, "ids")
    answer = getattr(asked, name)

    def hang() -> object:
        held.wait()
        return answer()

    monkeypatch.setattr(asked, name, hang)
    asked.available = False
    with running_ingress(tmp_path, topics=topics, registry=registry) as ingress:
        assert ingress.post(message("kept")).json()["disposition"] == "spooled"
        eventually(lambda: "no answer and no error within 0.05 s" in ingress.details()["waiting_for"][server])
        assert "no answer and no error within 0.05 s" in caplog.text
        asked.available = True
        held.set()
        eventually(lambda: keys(ingress.kafka) == ["kept"])


def test_a_topic_that_becomes_wrong_while_it_runs_stops_the_publishing_and_is_named(tmp_path: Path):
    topics = FakeTopics()
    with running_ingress(tmp_path, topics=topics) as ingress:
        assert ingress.post(message("before")).json()["disposition"] == "published"
        topics.faults = ["messages: missing"]
        eventually(lambda: ingress.details()["waiting_for"] == {"kafka": "messages: missing"})
        assert ingress.metric("bridge_kafka_verified") == 0
        assert ingress.post(message("while")).json()["disposition"] == "spooled"
        assert keys(ingress.kafka) == ["before"]
        topics.faults = []
        eventually(lambda: keys(ingress.kafka) == ["before", "while"])
        assert ingress.metric("bridge_kafka_verified") == 1
        # Producers know the former partitions: each of them was renewed.
        assert [publisher.renewed for publisher in ingress.kafka.publishers] == [1, 1]


def test_a_topic_that_was_created_again_between_two_looks_is_noticed(tmp_path: Path):
    topics = FakeTopics()
    with running_ingress(tmp_path, topics=topics) as ingress:
        topics.identities = {"messages": "second"}
        eventually(lambda: ingress.metric("bridge_topics_replaced_total") == 1)
        assert [publisher.renewed for publisher in ingress.kafka.publishers] == [1, 1]
        assert ingress.post(message()).json()["disposition"] == "published"
        (told,) = ingress.details()["remarks"]
        assert "former records are lost: messages. `bridge reconcile`" in told
        assert ingress.details()["status"] == "degraded"


def test_status_changes_that_were_created_again_are_told_and_no_producer_is_replaced(tmp_path: Path):
    topics = FakeTopics()
    topics.identities = {"messages": "first", "status-changes": "first"}
    with running_ingress(tmp_path, topics=topics) as ingress:
        topics.identities = {"messages": "first", "status-changes": "second"}
        eventually(lambda: "former records are lost: status-changes." in "".join(ingress.details()["remarks"]))
        assert ingress.metric("bridge_topics_replaced_total") == 1
        assert [publisher.renewed for publisher in ingress.kafka.publishers] == [0, 0]


def test_topics_that_were_created_again_while_no_bridge_ran_are_told(tmp_path: Path):
    topics = FakeTopics()
    topics.identities = {"messages": "first", "status-changes": "first"}
    with running_ingress(tmp_path, topics=topics) as ingress:
        assert ingress.details()["status"] == "ready"
    again = FakeTopics()
    again.identities = {"messages": "first", "status-changes": "second"}
    with running_ingress(tmp_path, topics=again) as ingress:
        eventually(lambda: "former records are lost: status-changes." in "".join(ingress.details()["remarks"]))
        assert ingress.metric("bridge_topics_replaced_total") == 1
        assert ingress.post(message()).json()["disposition"] == "published"
    # A restart is an act of an operator, who has seen it.
    with running_ingress(tmp_path, topics=again) as ingress:
        assert ingress.details()["status"] == "ready"


def test_topics_that_were_created_again_after_the_spool_had_to_start_over_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Their ids were noted in the file whose place an empty one took, because the disk was too full to delete."""

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    topics, kafka = FakeTopics(), FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with monkeypatch.context() as patched, running_ingress(tmp_path, topics=topics, kafka=kafka) as ingress:
        patched.setattr(SpoolFile, "delete", full)
        assert ingress.post(message()).json()["disposition"] == "spooled"
        kafka.verdict = lambda _: None
        eventually(lambda: ingress.service.spool._generation == 1)
    again = FakeTopics()
    again.identities = {"messages": "second"}
    with running_ingress(tmp_path, topics=again) as ingress:
        eventually(lambda: ingress.metric("bridge_topics_replaced_total") == 1)


def test_topics_that_brokers_give_ids_for_the_first_time_were_not_created_again(tmp_path: Path):
    """Brokers before Kafka 2.8 give none, and in an upgrade they have it one after the other."""
    topics = FakeTopics()
    topics.identities = {"messages": NO_ID}
    with running_ingress(tmp_path, topics=topics):
        pass
    topics.identities = {"messages": "first"}
    with running_ingress(tmp_path, topics=topics) as ingress:
        looks = topics.looks
        eventually(lambda: topics.looks > looks + 1)
        topics.identities = {"messages": NO_ID}
        looks = topics.looks
        eventually(lambda: topics.looks > looks + 1)
        assert ingress.metric("bridge_topics_replaced_total") == 0
        topics.identities = {"messages": "second"}
        eventually(lambda: ingress.metric("bridge_topics_replaced_total") == 1)


def test_topics_that_a_former_version_noted_without_ids_were_not_created_again(tmp_path: Path):
    topics = FakeTopics()
    topics.identities = {"messages": "first"}
    with running_ingress(tmp_path, topics=topics) as ingress:
        path = ingress.spool_directory / "spool-0.db"
    with closing(sqlite3.connect(path)) as notes, notes:
        text = json.dumps({"messages": NO_ID})
        changed = notes.execute("UPDATE memory SET value = ? WHERE name LIKE 'topic ids %'", (text,))
        assert changed.rowcount == 1
    with running_ingress(tmp_path, topics=topics) as ingress:
        looks = topics.looks
        eventually(lambda: topics.looks > looks + 1)
        assert ingress.metric("bridge_topics_replaced_total") == 0


def test_topics_with_another_prefix_are_others_and_not_created_again(tmp_path: Path):
    with running_ingress(tmp_path):
        pass
    topics = FakeTopics()
    topics.identities = {"messages": "of another prefix"}
    with running_ingress(tmp_path, topics=topics, prefix="other.") as ingress:
        assert ingress.details()["status"] == "ready"


def test_notes_that_cannot_be_read_keep_no_event_from_kafka(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def fail(*_: object) -> str:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Spool, "recall", fail)
    monkeypatch.setattr(Spool, "remember", fail)
    topics = FakeTopics()
    with running_ingress(tmp_path, topics=topics) as ingress:
        assert ingress.post(message()).json()["disposition"] == "published"
        topics.identities = {"messages": "second"}
        eventually(lambda: ingress.metric("bridge_topics_replaced_total") == 1)


def test_after_a_record_was_not_acknowledged_nothing_is_published_before_the_topics_are_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(topic_watch, "_EVERY_S", 3600)
    kafka, topics = FakeKafka(), FakeTopics()
    with running_ingress(tmp_path, kafka=kafka, topics=topics) as ingress:
        kafka.verdict = lambda _: TIMED_OUT
        topics.faults = ["messages: 1 partitions"]
        assert ingress.post(message("kept")).json()["disposition"] == "spooled"
        eventually(lambda: ingress.details()["waiting_for"] == {"kafka": "messages: 1 partitions"})
        kafka.verdict = lambda _: None
        attempts, looks = kafka.attempts, topics.looks
        eventually(lambda: topics.looks > looks)
        assert kafka.attempts == attempts
        topics.faults = []
        eventually(lambda: keys(kafka) == ["kept"])


@pytest.mark.parametrize(
    "finding",
    [
        Finding("messages", Grade.RISK, "messages: retention.ms is 1000"),
        Finding("message-state", Grade.WRONG, "message-state: missing"),
    ],
    ids=["a risk", "another's topic"],
)
def test_what_does_not_hinder_publishing_is_named_and_hinders_nothing(tmp_path: Path, finding: Finding):
    topics = FakeTopics()
    topics.others = [finding]
    with running_ingress(tmp_path, topics=topics) as ingress:
        assert ingress.post(message()).json()["disposition"] == "published"
        details = ingress.details()
        assert (details["status"], details["remarks"]) == ("degraded", [finding.text])
        assert ingress.metric("bridge_topic_remarks") == 1
        topics.others = []
        eventually(lambda: ingress.details()["status"] == "ready")


def test_another_choice_of_an_operator_is_no_fault(tmp_path: Path):
    topics = FakeTopics()
    topics.others = [Finding("messages", Grade.CHOICE, "messages: retention.ms is -1")]
    with running_ingress(tmp_path, topics=topics) as ingress:
        assert ingress.details()["status"] == "ready"


def test_without_registered_schemas_it_starts_spools_and_publishes_once_they_are(tmp_path: Path):
    registry = FakeRegistry()
    registry.registered = False
    with running_ingress(tmp_path, registry=registry) as ingress:
        assert ingress.post(message("kept")).json()["disposition"] == "spooled"
        details = ingress.details()
        assert (details["status"], details["faults"]) == ("degraded", ["schema_registry"])
        assert details["waiting_for"] == {"schema_registry": "no such subject"}
        registry.registered = True
        eventually(lambda: keys(ingress.kafka) == ["kept"])
        lost = {"kept"} - set(keys(ingress.kafka))
    print(f"\nfigure: lost: {len(lost)} of 1 accepted; the operator saw: {details['status']}, {details['waiting_for']}")


def test_other_ids_than_remembered_are_used_from_then_on(tmp_path: Path):
    with running_ingress(tmp_path) as ingress:
        ingress.post(message("first"))
    registry = FakeRegistry()
    registry.known = {name: number + 100 for name, number in IDS.items()}
    with running_ingress(tmp_path, registry=registry) as ingress:
        assert ingress.post(message("second")).json()["disposition"] == "published"
        assert ids(ingress.kafka) == [IDS["MessageEvent"] + 100]


def test_what_a_registry_cannot_tell_leaves_the_known_ids_in_use(tmp_path: Path):
    registry = FakeRegistry()
    with running_ingress(tmp_path, registry=registry) as ingress:
        registry.available = False
        eventually(lambda: "schema_registry" in ingress.details()["waiting_for"])
        assert ingress.post(message()).json()["disposition"] == "published"
        assert ingress.details()["status"] == "degraded"
        assert (ingress.metric("bridge_registry_answered"), ingress.metric("bridge_schema_ids_known")) == (0, 1)
        registry.available = True
        eventually(lambda: ingress.details()["status"] == "ready")
        assert ingress.metric("bridge_registry_answered") == 1


def test_ids_that_mean_another_schema_now_are_given_up_until_ours_are_registered_again(tmp_path: Path):
    """A registry lost its data, and others registered first."""
    registry = FakeRegistry()
    with running_ingress(tmp_path, registry=registry) as ingress:
        assert ingress.post(message("before")).json()["disposition"] == "published"
        registry.registered = False
        registry.taken = {IDS["MessageEvent"]}
        eventually(lambda: ingress.details()["faults"] == ["schema_registry"])
        assert "id 1 of MessageEvent is another schema" in ingress.details()["waiting_for"]["schema_registry"]
        assert ingress.metric("bridge_schema_ids_known") == 0
        assert ingress.post(message("while")).json()["disposition"] == "spooled"
        assert keys(ingress.kafka) == ["before"]
        registry.registered = True
        registry.known = {name: number + 100 for name, number in IDS.items()}
        eventually(lambda: keys(ingress.kafka) == ["before", "while"])
        assert ids(ingress.kafka) == [IDS["MessageEvent"], IDS["MessageEvent"] + 100]


def test_ids_that_were_given_up_are_not_used_after_a_restart(tmp_path: Path):
    registry = FakeRegistry()
    with running_ingress(tmp_path, registry=registry) as ingress:
        registry.registered = False
        registry.taken = {IDS["MessageEvent"]}
        eventually(lambda: ingress.details()["faults"] == ["schema_registry"])
    registry.available = False
    with running_ingress(tmp_path, registry=registry) as ingress:
        assert ingress.post(message()).json()["disposition"] == "spooled"
        assert ingress.kafka.attempts == 0


def test_a_start_without_kafka_is_patient_until_a_request_waits():
    """What the sender sends during a restart waits in the socket, and it gives up after 5 s."""

    async def main() -> None:
        loop, wanted = asyncio.get_running_loop(), asyncio.Event()
        async with asyncio.timeout(3600) as limit:
            hurry = asyncio.create_task(preparation._hurry(limit, wanted))
            await asyncio.sleep(0)
            assert limit.when() > loop.time() + 3500
            wanted.set()
            await hurry
            assert limit.when() <= loop.time() + preparation._WANTED_S
        async with asyncio.timeout(preparation._WANTED_S / 2) as limit:
            end = limit.when()
            await preparation._hurry(limit, wanted)
            assert limit.when() == end

    asyncio.run(main())
