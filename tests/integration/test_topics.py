"""Topics on a real broker: made once as the catalogue says, verified, never changed."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

import openbsp.kafka.topics
from avro.catalogue import TOPICS
from openbsp.errors import KafkaUnavailableError, TopicsError
from openbsp.kafka.connection import KafkaSettings, TopicSettings
from openbsp.kafka.findings import Grade
from openbsp.kafka.topics import Topics
from support.environment import clean_environment
from support.topic_settings import change_settings, settings_of
from support.wait import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def topics(bare_contract):
    return Topics(bare_contract.kafka, bare_contract.topics)


@pytest.fixture
def admin(bare_contract):
    """Change the cluster as somebody else does."""
    return AdminClient({**bare_contract.kafka.librdkafka(), "log_level": 0})


def test_the_first_apply_makes_every_topic_as_the_catalogue_says(bare_contract, topics, admin):
    assert sorted(topics.apply()) == sorted(bare_contract.topic(name) for name in TOPICS)
    metadata = admin.list_topics(timeout=10).topics
    for name, topic in TOPICS.items():
        full_name = bare_contract.topic(name)
        assert len(metadata[full_name].partitions) == bare_contract.topics.partitions
        assert topic.config().items() <= settings_of(admin, full_name).items()
        assert settings_of(admin, full_name)["min.insync.replicas"] == "1"


def test_the_second_apply_changes_nothing(bare_contract, topics, admin):
    topics.apply()
    before = {name: settings_of(admin, bare_contract.topic(name)) for name in TOPICS}
    assert topics.apply() == []
    topics.check()
    assert {name: settings_of(admin, bare_contract.topic(name)) for name in TOPICS} == before


def test_several_may_apply_at_once(bare_contract):
    def apply(_: int) -> list[str]:
        return Topics(bare_contract.kafka, bare_contract.topics).apply()

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(apply, range(4)))
    assert sorted({name for names in made for name in names}) == sorted(bare_contract.topic(name) for name in TOPICS)


def test_check_names_each_missing_topic_and_makes_none(bare_contract, topics, admin):
    with pytest.raises(TopicsError) as found:
        topics.check()
    assert found.value.faults == [f"{bare_contract.topic(name)}: missing; run `bridge topics apply`" for name in TOPICS]
    assert not [name for name in admin.list_topics(timeout=10).topics if name.startswith(bare_contract.prefix)]


def test_a_wrong_partition_count_is_named_by_both_and_left_alone(bare_contract, topics, admin):
    name = bare_contract.topic("conversations")
    admin.create_topics([NewTopic(name, num_partitions=3, config=TOPICS["conversations"].config())])[name].result(10)
    fault = f"{name}: 3 partitions, the join needs TOPIC_PARTITIONS={bare_contract.topics.partitions}"
    for act in (topics.apply, topics.check):
        with pytest.raises(TopicsError) as found:
            act()
        assert fault in found.value.faults
    assert len(admin.list_topics(name, timeout=10).topics[name].partitions) == 3


@pytest.mark.parametrize(
    "change",
    [
        ("messages", "cleanup.policy", "compact", "delete", Grade.WRONG),
        ("message-state", "cleanup.policy", "delete", "compact", Grade.WRONG),
        ("message-state", "cleanup.policy", "compact,delete", "compact", Grade.WRONG),
        ("dead-letters", "retention.ms", "1000", str(90 * 24 * 3600 * 1000), Grade.RISK),
        ("messages", "retention.ms", str(7 * 24 * 3600 * 1000), str(30 * 24 * 3600 * 1000), Grade.CHOICE),
        ("messages", "retention.ms", "-1", str(30 * 24 * 3600 * 1000), Grade.CHOICE),
        ("conversation-state", "max.message.bytes", "1000", str(16 * 1024 * 1024), Grade.RISK),
        ("conversation-state", "max.message.bytes", "32000000", str(16 * 1024 * 1024), Grade.CHOICE),
        ("streams-messages-changelog", "min.compaction.lag.ms", "0", "3600000", Grade.RISK),
        ("message-state", "max.compaction.lag.ms", "172800000", "86400000", Grade.CHOICE),
        ("messages", "min.insync.replicas", "2", "1", Grade.CHOICE),
        ("messages", "message.timestamp.type", "CreateTime", "LogAppendTime", Grade.RISK),
        ("messages", "unclean.leader.election.enable", "true", "false", Grade.RISK),
    ],
    ids=lambda change: " ".join(change[:3]),
)
def test_a_setting_that_somebody_changed_is_named_graded_and_left_alone(bare_contract, topics, admin, change):
    topic, setting, value, wanted, grade = change
    topics.apply()
    name = bare_contract.topic(topic)
    change_settings(admin, name, **{setting: value})
    (finding,) = topics.inspect().findings
    assert (finding.topic, finding.grade) == (topic, grade)
    assert finding.text.startswith(f"{name}: {setting} is {value}, the contract says {wanted}")
    for act in (topics.apply, topics.check):
        if grade is Grade.WRONG:
            with pytest.raises(TopicsError) as found:
                act()
            assert found.value.faults == [finding.text]
        else:
            act()
    assert settings_of(admin, name)[setting] == value


def test_a_lower_number_of_replicas_than_the_setting_is_a_risk(bare_contract, topics):
    topics.apply()
    wanted = bare_contract.topics.model_copy(update={"min_insync_replicas": 2})
    grades = {finding.grade for finding in Topics(bare_contract.kafka, wanted).inspect().findings}
    assert grades == {Grade.RISK}


@pytest.mark.parametrize(("days", "milliseconds"), [(7.5, "648000000"), (0, "-1")])
def test_the_operator_decides_how_long_events_are_kept(bare_contract, admin, days, milliseconds):
    settings = bare_contract.topics.model_copy(update={"retention_days": days, "dead_letter_retention_days": days})
    Topics(bare_contract.kafka, settings).apply()
    for name in ("messages", "streams-contributions", "dead-letters"):
        assert settings_of(admin, bare_contract.topic(name))["retention.ms"] == milliseconds
    assert Topics(bare_contract.kafka, settings).inspect().findings == ()


def test_topics_of_a_former_version_are_given_the_brokers_clock_once(bare_contract, topics, admin):
    topics.apply()
    former = [bare_contract.topic(name) for name in ("messages", "message-state")]
    for name in former:
        change_settings(admin, name, message_timestamp_type="CreateTime")
    assert topics.migrate() == former
    eventually(lambda: topics.inspect().findings == ())
    assert topics.migrate() == []


def test_a_topic_that_is_created_again_has_another_identity(bare_contract, topics, admin):
    topics.apply()
    before = topics.inspect().identities
    assert set(before) == set(TOPICS)
    name = bare_contract.topic("conversations")
    admin.delete_topics([name])[name].result(10)
    eventually(lambda: topics.apply() == [name])
    after = topics.inspect().identities
    assert {topic for topic in TOPICS if before[topic] != after[topic]} == {"conversations"}


def test_the_layout_of_a_topic_is_its_id_and_its_partitions(bare_contract, topics, admin):
    assert topics.layout("suppressions") is None
    topics.apply()
    identity, partitions = topics.layout("suppressions")
    assert (identity, partitions) == (topics.inspect().identities["suppressions"], bare_contract.topics.partitions)
    name = bare_contract.topic("suppressions")
    admin.create_partitions([NewPartitions(name, partitions + 1)])[name].result(10)
    eventually(lambda: topics.layout("suppressions") == (identity, partitions + 1))


def test_the_command_grades_what_it_finds_and_fails_only_for_what_is_wrong(bare_contract, topics, admin):
    def check() -> tuple[int, list[str]]:
        bridge = Path(sys.executable).with_name("bridge")
        done = subprocess.run(
            [bridge, "topics", "check"],
            env={**clean_environment(), **bare_contract.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, [line.partition(":")[0] for line in done.stdout.splitlines()]

    topics.apply()
    assert check() == (0, ["all topics are as the catalogue says"])
    change_settings(admin, bare_contract.topic("messages"), retention_ms="-1")
    change_settings(admin, bare_contract.topic("messages"), max_message_bytes="1000")
    assert check() == (0, ["risk", "choice"])
    change_settings(admin, bare_contract.topic("message-state"), cleanup_policy="delete")
    assert check() == (1, ["wrong", "risk", "choice"])


def test_what_the_cluster_cannot_make_is_refused_with_its_reason(bare_contract):
    settings = bare_contract.topics.model_copy(update={"replication_factor": 3})
    with pytest.raises(TopicsError, match=r"cannot be created: .*[Rr]eplication factor"):
        Topics(bare_contract.kafka, settings).apply()


def test_without_a_broker_the_error_says_what_was_tried_and_why_it_failed(monkeypatch, capfd):
    monkeypatch.setattr(openbsp.kafka.topics, "_TIMEOUT_S", 1.0)
    with pytest.raises(KafkaUnavailableError, match=r"127\.0\.0\.1:9: no broker answered: .*Connection refused"):
        Topics(KafkaSettings(bootstrap_servers="127.0.0.1:9"), TopicSettings()).check()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("hours", [2, -40 * 24], ids=["2 h ahead", "40 days behind"])
def test_a_record_of_a_producer_whose_clock_is_wrong_is_taken_and_has_the_brokers_time(contract, hours):
    """Else the broker refuses it, or retention deletes it at once."""
    producer = Producer(contract.kafka.librdkafka())
    delivered = []
    wrong = int((time.time() + hours * 3600) * 1000)
    producer.produce(
        contract.topic("messages"), b"x", timestamp=wrong, on_delivery=lambda *report: delivered.append(report)
    )
    producer.flush(20)
    ((error, message),) = delivered
    assert error is None
    kind, stamp = message.timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME
    assert abs(stamp / 1000 - time.time()) < 60
