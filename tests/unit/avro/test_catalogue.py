"""The catalogue is the list of topics that other teams rely on."""

import pytest

from avro.catalogue import DAY_MS, MAX_MESSAGE_BYTES, TOPICS

PUBLIC = {
    "messages": ("message id", "MessageEvent", "delete", 30),
    "conversations": ("conversation id", "ConversationEvent", "delete", 30),
    "contacts": ("contact id", "ContactEvent", "delete", 30),
    "contacts-addresses": (
        "organization, and a hash of organization, service and address",
        "ContactAddressEvent",
        "delete",
        30,
    ),
    "message-state": ("message id", "MessageState", "compact", None),
    "conversation-state": ("conversation id", "ConversationState", "compact", None),
    "status-changes": ("conversation id", "StatusChange", "delete", 30),
    "dead-letters": ("row id or null", "DeadLetter", "delete", 90),
}


def test_the_public_topics_are_the_promised_ones() -> None:
    assert {name for name, topic in TOPICS.items() if not topic.internal} == set(PUBLIC)
    for name, (key, schema, policy, days) in PUBLIC.items():
        topic = TOPICS[name]
        assert (topic.key, topic.schema, topic.cleanup_policy) == (key, schema, policy)
        assert topic.retention_ms == (days and days * DAY_MS)


@pytest.mark.parametrize("name", sorted(TOPICS))
def test_each_topic_states_what_the_broker_must_be_told(name: str) -> None:
    topic = TOPICS[name]
    config = topic.config()
    assert topic.name == name
    assert topic.purpose
    assert config["cleanup.policy"] == topic.cleanup_policy
    assert ("retention.ms" in config) == (topic.cleanup_policy == "delete")
    assert int(config["max.message.bytes"]) == MAX_MESSAGE_BYTES


def test_the_catalogue_cannot_be_changed_at_run_time() -> None:
    for mapping in (TOPICS, TOPICS["streams-messages-changelog"].settings):
        with pytest.raises(TypeError):
            mapping["x"] = None  # type: ignore[index]
