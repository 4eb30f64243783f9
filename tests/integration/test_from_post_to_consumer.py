"""From the POST of a webhook through real bridge, topics and worker to who reads: consumers of old, and the views."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from avro.catalogue import TOPICS
from avro.schemas import versions
from support.consume import AvroReader, read_all
from support.join_cases import at, inserted, message, opened, status_of
from support.join_outcome import await_committed

pytestmark = pytest.mark.integration

HEADERS = {"Authorization": "Bearer token-of-the-tests"}
LIMIT = 4 * 1024 * 1024
#: Each version of a schema that is not the one which is written, with the topic where it is read.
FORMER = [(name, schema) for name, one in TOPICS.items() if one.schema for schema in versions(one.schema)[:-1]]


def post(bridge: Any, body: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {**HEADERS, "Content-Type": "application/json"}
    return httpx.post(f"{bridge.url}/webhooks", content=content, headers=headers, timeout=30, trust_env=False)


def get(worker: Any, path: str) -> httpx.Response:
    return httpx.get(f"{worker.url}{path}", headers=HEADERS, timeout=30, trust_env=False)


@pytest.fixture
def story() -> list[dict[str, Any]]:
    """Whatever a later version of a schema has a field for."""
    failed = {"failed": at(51), "errors": [{"code": 131047}], "typing": "yesterday"}
    return [
        inserted("i", "c", "incoming", 10),
        inserted("o", "c", "outgoing", 20, external_id="w"),
        inserted("f", "c", "outgoing", 30, unknown={"of a later": "release"}),
        status_of("o", "read", 40),
        message("f", status=failed, updated_at=at(51)),
        inserted("later", "c", "outgoing", 60)
        | {"data": inserted("later", "c", "outgoing", 60)["data"] | {"timestamp": at(7_200)}},
        inserted("gone", "c", "outgoing", 12),
        message("gone", "delete", organization_id="org", conversation_id="c"),
        opened("c", 5, extra={"archived": at(90)}),
    ]


def test_consumers_with_the_schema_of_any_former_version_read_what_bridge_and_worker_write(
    contract, start_bridge, start_streams, story
):
    """With the stock deserializer of confluent-kafka; what such a schema has no field for is all that they miss."""
    bridge, worker = start_bridge(), start_streams()
    for event in story:
        assert post(bridge, event).status_code == 202
    await_committed(contract)
    assert get(worker, "/conversations/c").json()["message_count"] == 4
    reader, compared = AvroReader(contract.registry.url), {}
    with SchemaRegistryClient({"url": contract.registry.url, "timeout": 10}) as client:
        for name, schema in FORMER:
            topic = contract.topic(name)
            deserialize = AvroDeserializer(client, schema.text)
            context = SerializationContext(topic, MessageField.VALUE)
            written = [one for one in read_all(contract.kafka.bootstrap_servers, topic) if one.value() is not None]
            for one in written:
                assert deserialize(one.value(), context) == as_known(reader.value(one), schema.parsed())
            compared[f"{name} by version {schema.version}"] = len(written)
    print("figure: records read by the schemas of former versions:", compared)
    assert min(compared.values()) > 0


def as_known(value: Any, schema: Any) -> Any:
    """Return a value without the fields that a schema does not have, and with the defaults of those that it lacks."""
    known = [one for one in schema if isinstance(one, Mapping)] if isinstance(schema, list) else [schema]
    fields = known[0].get("fields") if known and isinstance(value, Mapping) and isinstance(known[0], Mapping) else None
    if fields is None:
        return value
    return {
        field["name"]: as_known(value[field["name"]], field["type"]) if field["name"] in value else field["default"]
        for field in fields
    }


def test_a_row_of_four_mebibytes_goes_from_post_to_view_and_one_byte_more_leaves_a_dead_letter(
    contract, start_bridge, start_streams
):
    bridge, worker = start_bridge(BRIDGE_DEADLINE_S="4"), start_streams()
    row = inserted("large", "c", "incoming", 10)["data"]

    def body(key: str, size: int) -> tuple[bytes, str]:
        def whole(text: str) -> bytes:
            content = {"type": "text", "kind": "text", "text": text}
            event = {"data": row | {"id": key, "content": content}, "entity": "messages", "action": "insert"}
            return json.dumps(event).encode()

        text = "words " * 50
        text += "x" * (size - len(whole(text)))
        assert len(whole(text)) == size
        return whole(text), text

    largest, text = body("large", LIMIT)
    answer = post(bridge, largest)
    assert (answer.status_code, answer.json()["disposition"]) == (202, "published")
    assert post(bridge, opened("c", 5)).status_code == 202
    assert post(bridge, status_of("large", "read", 20)).status_code == 202
    await_committed(contract)

    view = get(worker, "/messages/large").json()
    assert (view["content"]["text"], view["delivery_status"]) == (text, "read")
    for path in ("/conversations/c/messages", "/messages?organization_id=org"):
        listed = get(worker, path)
        (shown,) = listed.json()["messages"]
        assert (shown["id"], shown["preview"]) == ("large", text[:280])
        assert len(listed.content) < 2_000
    assert get(worker, "/conversations/c").json()["last_message"]["preview"] == text[:280]
    states = [one for one in read_all(contract.kafka.bootstrap_servers, contract.topic("message-state")) if one.value()]
    reader = AvroReader(contract.registry.url)
    assert json.loads(reader.value(states[-1])["content"])["text"] == text

    refused, _ = body("larger", LIMIT + 1)
    answer = post(bridge, refused)
    assert (answer.status_code, answer.json()["reason"]) == (413, "too_large")
    (letter,) = map(reader.value, read_all(contract.kafka.bootstrap_servers, contract.topic("dead-letters")))
    told = [letter[name] for name in ("reason", "entity", "key", "organization_id", "payload_size", "payload")]
    assert told == ["too_large", "messages", "larger", "org", LIMIT + 1, None]
    assert get(worker, "/messages/larger").status_code == 404
