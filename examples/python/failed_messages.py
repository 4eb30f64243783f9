"""Prints which outgoing messages of an organization failed in the last hour, and why, as lines of JSON.

One topic has it all. A message fails by the status `failed`, or by `error` alone, as `delivery_status` counts it.

Arguments: the organization's id, and how many seconds to look back (3600).
"""

import json
import os
import sys
import time
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

KAFKA = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:14000")
REGISTRY = os.environ.get("SCHEMA_REGISTRY_URL", "http://127.0.0.1:14001/apis/ccompat/v7")
TOPIC = os.environ.get("TOPIC_PREFIX", "openbsp.") + "status-changes"
WAIT_S = 10
FAILURES = ("failed", "error")


def failures(organization: str, since: float) -> dict[str, Any]:
    """Return the failures that happened after `since` (seconds of Unix time) by the id of the fact."""
    consumer = Consumer(
        {
            "bootstrap.servers": KAFKA,
            "group.id": "failed-messages",  # librdkafka wants one; nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    deserialize = AvroDeserializer(SchemaRegistryClient({"url": REGISTRY, "timeout": WAIT_S}))
    found: dict[str, Any] = {}
    try:
        partitions = consumer.list_topics(TOPIC, timeout=WAIT_S).topics[TOPIC].partitions
        # A failure is written after it happened, so none is in the records before that time.
        wanted = [TopicPartition(TOPIC, number, int(since * 1000)) for number in partitions]
        consumer.assign(consumer.offsets_for_times(wanted, timeout=WAIT_S))
        open_partitions = set(partitions)
        while open_partitions:
            message = consumer.poll(WAIT_S)
            if message is None:
                raise SystemExit(f"{KAFKA} does not answer")
            if message.error():
                if message.error().code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 its public name
                    raise KafkaException(message.error())
                open_partitions.discard(message.partition())
                continue
            change = deserialize(message.value(), SerializationContext(TOPIC, MessageField.VALUE))
            if (change["organization_id"], change["direction"]) != (organization, "outgoing"):
                continue
            if change["status"] in FAILURES:
                # A fact can be told again, with its conversation or with its errors at last: upsert by `id`.
                known = found.get(change["id"])
                if known is None or known["conversation"] is None or change["conversation"] is not None:
                    found[change["id"]] = change
    finally:
        consumer.close()
    return {key: change for key, change in found.items() if change["at"].timestamp() >= since}


def main() -> None:
    """Print them, the newest first."""
    organization, *rest = sys.argv[1:]
    since = time.time() - float(rest[0] if rest else 3600)
    found = sorted(failures(organization, since).values(), key=lambda change: FAILURES.index(change["status"]))
    # One that has both failed once: what its errors are both tell.
    messages = {change["message_id"]: change for change in reversed(found)}
    for change in sorted(messages.values(), key=lambda change: change["at"], reverse=True):
        conversation = change["conversation"] or {}
        shown = {
            "message_id": change["message_id"],
            "conversation_id": change["conversation_id"],
            "contact_address": conversation.get("contact_address"),
            "at": change["at"].isoformat(),
            "errors": [json.loads(error) for error in change["errors"] or []],
        }
        print(json.dumps(shown))


if __name__ == "__main__":
    main()
