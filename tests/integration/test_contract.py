"""Topics and schemas against a real broker and a real registry."""

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from openbsp.errors import TopicsError
from openbsp.kafka.topics import Topics
from support.consume import read_all


def test_topics_are_made_once_and_then_found(bare_contract):
    topics = Topics(bare_contract.kafka, bare_contract.topics)
    with pytest.raises(TopicsError, match="missing"):
        topics.check()
    assert bare_contract.topic("messages") in topics.apply()
    assert topics.apply() == []


def test_a_topic_that_differs_is_named(bare_contract):
    admin = AdminClient(bare_contract.kafka.librdkafka())
    name = bare_contract.topic("messages")
    admin.create_topics([NewTopic(name, num_partitions=2)])[name].result(10)
    with pytest.raises(TopicsError, match=f"{name}: 2 partitions"):
        Topics(bare_contract.kafka, bare_contract.topics).apply()


def test_a_new_topic_is_empty(contract):
    assert read_all(contract.kafka.bootstrap_servers, contract.topic("messages")) == []
