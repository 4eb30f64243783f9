"""Prints each status change with its conversation. Needs confluent-kafka[schemaregistry] and fastavro only."""

import os

from confluent_kafka import DeserializingConsumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer

url = os.environ.get("SCHEMA_REGISTRY_URL", "http://127.0.0.1:14001/apis/ccompat/v7")
registry = SchemaRegistryClient({"url": url, "timeout": 10})
consumer = DeserializingConsumer(
    {
        "bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:14000"),
        "group.id": os.environ.get("GROUP_ID", "my-team"),
        "auto.offset.reset": "earliest",
        "value.deserializer": AvroDeserializer(registry),
    }
)
consumer.subscribe([os.environ.get("TOPIC_PREFIX", "openbsp.") + "status-changes"])
seen = set()
while (message := consumer.poll(10)) is not None:
    event_id = dict(message.headers())["ce_id"]
    if event_id not in seen:  # delivery is at least once
        seen.add(event_id)
        change = message.value()
        print(change["message_id"], change["status"], change["at"], change["conversation"])
consumer.close()
