"""The contract as an AsyncAPI 3 document, generated from catalogue, schemas, promises and examples. Pure."""

import json
from typing import Any, Protocol

from avro import examples
from avro.catalogue import COMPRESSION, TOPICS, Topic, topic_name
from avro.compatibility import COMPATIBILITY
from avro.promises import COMPRESSED, EVOLUTION, PARTITIONING, PROMISES, Promise
from avro.schemas import latest

Document = dict[str, Any]

_BINDING_VERSION = "0.5.0"


class Deployment(Protocol):
    """The names and the configuration of a deployment's topics."""

    @property
    def prefix(self) -> str:
        """The prefix of all names."""

    @property
    def partitions(self) -> int:
        """Partitions of each topic."""

    @property
    def replication_factor(self) -> int:
        """Replicas of each partition."""


def document(version: str, topics: Deployment) -> Document:
    """Return the document of this project's `version` for a deployment's `topics`.

    It names no servers: their operators give the addresses to those with a token.
    """
    public = [topic for topic in TOPICS.values() if not topic.internal]
    return {
        "asyncapi": "3.0.0",
        "id": "urn:openbsp:stream-bridge",
        "info": {
            "title": "OpenBSP stream bridge",
            "version": version,
            "description": (
                "What OpenBSP's webhooks tell, as Kafka topics, and the live state of messages and conversations.\n\n"
                f"Values are Avro in Confluent's wire format. {EVOLUTION}\n\n{PARTITIONING}\n\n"
                f"{COMPRESSED}"
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            "tags": [{"name": "events"}, {"name": "state"}],
        },
        "defaultContentType": "application/avro",
        "channels": {topic.name: _channel(topic, topics) for topic in public},
        "operations": {
            f"send-{topic.name}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{topic.name}"},
                "summary": f"Writes {topic.purpose}.",
            }
            for topic in public
        },
        "components": {
            "messages": {str(topic.schema): _message(topic) for topic in public},
            "messageTraits": {"cloudEvent": _CLOUD_EVENT},
        },
    }


def _channel(topic: Topic, topics: Deployment) -> Document:
    promise = PROMISES[topic.name]
    policy: Document = {"cleanup.policy": topic.cleanup_policy.split(","), "max.message.bytes": _max_bytes(topic)}
    if topic.retention_ms is not None:
        policy["retention.ms"] = topic.retention_ms
    return {
        "address": topic_name(topics.prefix, topic.name),
        "title": f"{topic.purpose[0].upper()}{topic.purpose[1:]}",
        "description": (
            f"Key: {topic.key}.\n\nOrder: {promise.ordering}\n\nDelivery: {promise.delivery}\n\n"
            f"Deduplication: {promise.deduplication}\n\nRemoval: {promise.removal}"
        ),
        "x-compression": COMPRESSION,
        "tags": [{"name": "state" if topic.cleanup_policy == "compact" else "events"}],
        "messages": {str(topic.schema): {"$ref": f"#/components/messages/{topic.schema}"}},
        "bindings": {
            "kafka": {
                "topic": topic_name(topics.prefix, topic.name),
                "partitions": topics.partitions,
                "replicas": topics.replication_factor,
                "topicConfiguration": policy,
                "bindingVersion": _BINDING_VERSION,
            }
        },
    }


def _max_bytes(topic: Topic) -> int:
    return int(topic.config()["max.message.bytes"])


def _message(topic: Topic) -> Document:
    promise = PROMISES[topic.name]
    record = str(topic.schema)
    schema = json.loads(latest(record).text)
    return {
        "name": record,
        "title": record,
        "summary": schema["doc"],
        "description": " ".join(
            [
                f"Version {latest(record).version} of the schema.",
                *(f"Of its field {name}: {remark}" for name, remark in promise.remarks.items()),
            ]
        ),
        "contentType": "application/avro",
        "traits": [{"$ref": "#/components/messageTraits/cloudEvent"}],
        "headers": _headers(promise),
        "payload": {"schemaFormat": "application/vnd.apache.avro;version=1.9.0", "schema": schema},
        "bindings": {
            "kafka": {
                "key": {"type": ["string", "null"] if "null" in topic.key else "string", "description": topic.key},
                "schemaIdLocation": "payload",
                "schemaIdPayloadEncoding": "confluent",
                "schemaLookupStrategy": "TopicNameStrategy",
                "bindingVersion": _BINDING_VERSION,
            }
        },
        "x-compatibility": COMPATIBILITY,
        **({"x-remarks": dict(promise.remarks)} if promise.remarks else {}),
        "examples": [
            {"name": f"example-{number}", "summary": example.title, "payload": example.value}
            for number, example in enumerate(examples.load(latest(record)).accepted, 1)
        ],
    }


def _headers(promise: Promise) -> Document:
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type"],
        "properties": {
            "ce_specversion": {"const": "1.0"},
            "ce_id": text | {"description": "The identity of the event, see Deduplication."},
            "ce_source": text | {"description": promise.source},
            "ce_type": text | {"enum": list(promise.event_types)},
            "ce_subject": text | {"description": promise.subject},
            "ce_time": text | {"format": "date-time", "description": promise.time},
            "content-type": {"const": "application/avro"},
            "traceparent": text | {"description": "W3C trace context, where the request had one"},
        }
        | {name: text | {"description": meaning} for name, meaning in promise.headers.items()},
    }


_CLOUD_EVENT: Document = {
    "description": "CloudEvents 1.0, Kafka protocol binding, binary content mode.",
    "externalDocs": {
        "url": "https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md"
    },
}
