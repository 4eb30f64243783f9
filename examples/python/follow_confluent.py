"""Prints each status change as a line of JSON, with confluent-kafka and its stock AvroDeserializer."""

import json
import os
from collections import OrderedDict

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

KAFKA = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:14000")
REGISTRY = os.environ.get("SCHEMA_REGISTRY_URL", "http://127.0.0.1:14001/apis/ccompat/v7")
TOPIC = os.environ.get("TOPIC_PREFIX", "openbsp.") + "status-changes"
GROUP = os.environ.get("GROUP_ID", "status-changes-confluent")
UNTIL_END = "UNTIL_END" in os.environ

REMEMBERED = 100_000


def main() -> None:
    """Follow the topic; commit only what was printed."""
    # The client has no time-out of its own.
    deserialize = AvroDeserializer(SchemaRegistryClient({"url": REGISTRY, "timeout": 10}))
    consumer = Consumer(
        {
            "bootstrap.servers": KAFKA,
            "group.id": GROUP,
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
            "enable.partition.eof": UNTIL_END,
        }
    )
    seen: OrderedDict[bytes, None] = OrderedDict()
    ended: set[int] = set()
    consumer.subscribe([TOPIC])
    try:
        while not UNTIL_END or not ended or len(ended) < len(consumer.assignment()):
            message = consumer.poll(1)
            if message is None:
                continue
            if message.error():
                if message.error().code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 its public name
                    raise KafkaException(message.error())
                ended.add(message.partition())
                continue
            # Delivery is at least once; ce_id is the same whenever the same event comes again. A change that was
            # written without its conversation comes again with it, as an event of its own: who keeps changes upserts
            # them by their field `id`. After a restart of this program its memory is empty: a consumer that must never
            # repeat keeps the ids where it keeps its results.
            event_id = dict(message.headers())["ce_id"]
            if event_id not in seen:
                change = deserialize(message.value(), SerializationContext(TOPIC, MessageField.VALUE))
                print(json.dumps(change, default=str), flush=True)
                seen[event_id] = None
                if len(seen) > REMEMBERED:
                    seen.popitem(last=False)
            consumer.store_offsets(message)
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
