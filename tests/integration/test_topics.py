"""Topics on a real broker: made once as the catalogue says, verified, never changed."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

import openbsp.kafka.topics
from avro.catalogue import TOPICS
from openbsp.errors import KafkaUnavailableError, TopicsError
from openbsp.kafka.connection import KafkaSettings, TopicSettings
from openbsp.kafka.topics import Topics
from support.wait import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def topics(bare_contract):
    return Topics(bare_contract.kafka, bare_contract.topics)


@pytest.fixture
def admin(bare_contract):
    """Change the cluster as somebody else does."""
    return AdminClient({**bare_contract.kafka.librdkafka(), "log_level": 0})


def described(admin, name: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, name)
    return {entry.name: entry.value for entry in admin.describe_configs([resource])[resource].result(10).values()}


def test_the_first_apply_makes_every_topic_as_the_catalogue_says(bare_contract, topics, admin):
    assert sorted(topics.apply()) == sorted(bare_contract.topic(name) for name in TOPICS)
    metadata = admin.list_topics(timeout=10).topics
    for name, topic in TOPICS.items():
        full_name = bare_contract.topic(name)
        assert len(metadata[full_name].partitions) == bare_contract.topics.partitions
        assert topic.config().items() <= described(admin, full_name).items()
        assert described(admin, full_name)["min.insync.replicas"] == "1"


def test_the_second_apply_changes_nothing(bare_contract, topics, admin):
    topics.apply()
    before = {name: described(admin, bare_contract.topic(name)) for name in TOPICS}
    assert topics.apply() == []
    topics.check()
    assert {name: described(admin, bare_contract.topic(name)) for name in TOPICS} == before


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
        ("messages", "cleanup.policy", "compact", "delete"),
        ("message-state", "cleanup.policy", "delete", "compact"),
        ("dead-letters", "retention.ms", "1000", str(90 * 24 * 3600 * 1000)),
        ("conversation-state", "max.message.bytes", "1000", str(16 * 1024 * 1024)),
        ("streams-messages-changelog", "min.compaction.lag.ms", "0", "3600000"),
        ("messages", "min.insync.replicas", "2", "1"),
    ],
    ids=lambda change: " ".join(change[:2]),
)
def test_a_policy_that_somebody_changed_is_named_and_left_alone(bare_contract, topics, admin, change):
    topic, setting, value, wanted = change
    topics.apply()
    name = bare_contract.topic(topic)
    entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(10)
    eventually(lambda: described(admin, name)[setting] == value)
    for act in (topics.apply, topics.check):
        with pytest.raises(TopicsError) as found:
            act()
        assert found.value.faults == [f"{name}: {setting} is {value}, the contract says {wanted}"]
    assert described(admin, name)[setting] == value


def test_what_the_cluster_cannot_make_is_refused_with_its_reason(bare_contract):
    settings = bare_contract.topics.model_copy(update={"replication_factor": 3})
    with pytest.raises(TopicsError, match=r"cannot be created: .*[Rr]eplication factor"):
        Topics(bare_contract.kafka, settings).apply()


def test_without_a_broker_the_error_says_what_was_tried_and_why_it_failed(monkeypatch, capfd):
    monkeypatch.setattr(openbsp.kafka.topics, "_TIMEOUT_S", 1.0)
    with pytest.raises(KafkaUnavailableError, match=r"127\.0\.0\.1:9: no broker answered: .*Connection refused"):
        Topics(KafkaSettings(bootstrap_servers="127.0.0.1:9"), TopicSettings()).check()
    assert capfd.readouterr().err == ""
