"""Reads topics to their end, with confluent-kafka and fastavro only: as a consumer without our code would."""

import io
import json
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from support.look import shown


def read_all(bootstrap_servers: str, topic: str, *, within: float = 30.0) -> list[Message]:
    """Return all records of a topic, partition by partition, up to the ends of the partitions at this moment."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"test-{uuid4()}",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            # At an end the broker would wait for more records for half a second, before it says that it is one.
            "fetch.wait.max.ms": 20,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=within).topics[topic].partitions
        assert partitions, f"{topic} does not exist"
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        messages = []
        unfinished = set(partitions)
        deadline = time.monotonic() + within
        while unfinished:
            assert time.monotonic() < deadline, f"{topic}: partitions {unfinished} did not end within {within:g} s"
            message = consumer.poll(0.2)
            if message is None:
                continue
            if message.error() is None:
                messages.append(message)
            elif message.error().code() == KafkaError._PARTITION_EOF:
                unfinished.discard(message.partition())
            else:
                raise KafkaException(message.error())
    finally:
        consumer.close()
    return sorted(messages, key=lambda message: (message.partition(), message.offset()))


@dataclass
class AvroReader:
    """Decodes values in Confluent wire format with the registry's schemas."""

    registry: str
    _schemas: dict[int, Any] = field(default_factory=dict)

    def value(self, message: Message) -> Mapping[str, Any]:
        """Return the fields of a record's value; instants come as datetimes."""
        data = message.value()
        magic, schema_id = struct.unpack_from(">bI", data)
        assert magic == 0
        if schema_id not in self._schemas:
            answer = json.loads(shown(f"{self.registry}/schemas/ids/{schema_id}"))
            self._schemas[schema_id] = fastavro.parse_schema(json.loads(answer["schema"]))
        body = io.BytesIO(data[5:])
        fields = fastavro.schemaless_reader(body, self._schemas[schema_id], None)
        assert not body.read(), "bytes left over"
        return fields


def headers_of(message: Message) -> dict[str, str]:
    """Return a record's headers as text."""
    return {name: value.decode() for name, value in message.headers() or []}


def newest_by_key(messages: list[Message]) -> dict[str, Message]:
    """Return the last record of each key, as a compacted topic keeps it."""
    return {message.key().decode(): message for message in messages}
