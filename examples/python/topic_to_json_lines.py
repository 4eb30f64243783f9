"""Writes a topic as lines of JSON, for SQL on files: key, partition, offset and value of each record.

Its argument is the topic without its prefix, such as conversation-state. The value of a tombstone is null.
"""

import base64
import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

KAFKA = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:14000")
REGISTRY = os.environ.get("SCHEMA_REGISTRY_URL", "http://127.0.0.1:14001/apis/ccompat/v7")
PREFIX = os.environ.get("TOPIC_PREFIX", "openbsp.")
WAIT_S = 10


def main() -> None:
    """Print the topic."""
    topic = PREFIX + sys.argv[1]
    consumer = Consumer(
        {
            "bootstrap.servers": KAFKA,
            "group.id": "topic-to-json-lines",  # librdkafka wants one; nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            # Trap: what Kafka removes while it is read would otherwise be answered by a leap to the end.
            "auto.offset.reset": "earliest",
        }
    )
    deserialize = AvroDeserializer(SchemaRegistryClient({"url": REGISTRY, "timeout": WAIT_S}))
    try:
        partitions = set(consumer.list_topics(topic, timeout=WAIT_S).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        while partitions:
            message = consumer.poll(WAIT_S)
            if message is None:
                raise SystemExit(f"{KAFKA} does not answer")
            if message.error():
                if message.error().code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 its public name
                    raise KafkaException(message.error())
                partitions.discard(message.partition())
                continue
            key = message.key()
            record = {
                "key": None if key is None else key.decode(),
                "partition": message.partition(),
                "offset": message.offset(),
                "value": deserialize(message.value(), SerializationContext(topic, MessageField.VALUE)),
            }
            print(json.dumps(record, default=text))
    finally:
        consumer.close()


def text(value: Any) -> str:
    """Return an instant as RFC 3339 in UTC, to the microsecond, and bytes in base64."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return base64.b64encode(value).decode()


if __name__ == "__main__":
    main()
