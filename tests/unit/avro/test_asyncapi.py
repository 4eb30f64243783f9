"""The AsyncAPI document says what catalogue and schemas say, and the pages in docs/ are made from the same."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from avro import asyncapi
from avro.catalogue import TOPICS
from avro.promises import PROMISES
from avro.schemas import latest
from openbsp.kafka.connection import TopicSettings

ROOT = Path(__file__).resolve().parents[3]
PUBLIC = {name: topic for name, topic in TOPICS.items() if not topic.internal}
SETTINGS = TopicSettings(prefix="x.", partitions=7, replication_factor=2, min_insync_replicas=1)


def test_each_public_topic_is_a_channel_with_its_policy_and_none_other_is() -> None:
    channels = asyncapi.document("1.2.3", SETTINGS)["channels"]
    assert channels.keys() == PUBLIC.keys()
    for name, topic in PUBLIC.items():
        binding = channels[name]["bindings"]["kafka"]
        assert channels[name]["address"] == binding["topic"] == f"x.{name}"
        assert (binding["partitions"], binding["replicas"]) == (7, 2)
        assert binding["topicConfiguration"]["cleanup.policy"] == [topic.cleanup_policy]
        assert binding["topicConfiguration"].get("retention.ms") == topic.retention_ms


def test_each_message_carries_the_newest_schema_and_every_reference_leads_somewhere() -> None:
    document = asyncapi.document("1.2.3", SETTINGS)
    for topic in PUBLIC.values():
        assert topic.schema is not None
        message = document["components"]["messages"][topic.schema]
        assert message["payload"]["schema"] == json.loads(latest(topic.schema).text)
        assert message["examples"]
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        place = document
        for step in reference.split("/"):
            place = place[step]


def test_the_document_is_the_same_each_time_and_names_no_server() -> None:
    assert asyncapi.document("1.2.3", SETTINGS) == asyncapi.document("1.2.3", SETTINGS)
    assert "servers" not in asyncapi.document("1.2.3", SETTINGS)


def test_each_public_topic_makes_promises_and_no_two_share_an_event_type() -> None:
    assert PROMISES.keys() == PUBLIC.keys()
    types = [name for promise in PROMISES.values() for name in promise.event_types]
    assert len(set(types)) == len(types)


def test_the_pages_of_the_topics_are_those_of_the_code() -> None:
    """After a change of catalogue, schemas, promises or examples: `make docs`."""
    result = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate_topics.py", "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_each_page_tells_what_a_consumer_has_to_know(name: str) -> None:
    page = (ROOT / "docs" / "topics" / f"{name}.md").read_text("utf-8")
    for word in (
        "Key",
        "Value",
        "Partitioning",
        "Retention",
        "Ordering",
        "Delivery",
        "Deduplication",
        "Removal",
        "Evolution",
    ):
        assert f"- **{word}**: " in page
    for field in json.loads(latest(str(PUBLIC[name].schema)).text)["fields"]:
        assert f"| `{field['name']}` |" in page
    assert "```json" in page
