"""Reads the public topics as another team would: Confluent's consumer, deserializer and registry client."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from avro.catalogue import TOPICS, topic_name

_TIMEOUT_S = 10.0
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Record:
    """A record as a consumer sees it."""

    partition: int
    offset: int
    key: str | None
    #: None is a tombstone.
    value: Mapping[str, Any] | None


class RecordReader:
    """Collects the records of all public topics, by the topics' names in the catalogue. A context manager."""

    def __init__(self, bootstrap_servers: str, registry_url: str, prefix: str) -> None:
        public = [name for name, topic in TOPICS.items() if not topic.internal]
        self.records: dict[str, list[Record]] = {name: [] for name in public}
        self._names = {topic_name(prefix, name): name for name in public}
        self._next: dict[tuple[str, int], int] = {}
        self._deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry_url, "timeout": _TIMEOUT_S}))
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap_servers, "group.id": f"demo-{uuid4()}", "enable.auto.commit": False}
        )

    def __enter__(self) -> Self:
        topics = self._consumer.list_topics(timeout=_TIMEOUT_S).topics
        self._next = {(name, partition): 0 for name in self._names for partition in topics[name].partitions}
        self._consumer.assign([TopicPartition(name, partition, 0) for name, partition in self._next])
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read_to_end(self) -> None:
        """Collect the current records of the topics. TimeoutError if the broker does not deliver them."""
        ends = {place: self._end(*place) for place in self._next}
        deadline = time.monotonic() + _TIMEOUT_S
        while any(self._next[place] < end for place, end in ends.items()):
            message = self._consumer.poll(_POLL_S)
            if message is not None:
                self._keep(message)
            elif time.monotonic() > deadline:
                raise TimeoutError("the broker did not deliver all records of its topics")

    def _end(self, topic: str, partition: int) -> int:
        _, end = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), _TIMEOUT_S)
        return end

    def _keep(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            raise KafkaException(error)
        # A message without an error has a position.
        topic = cast("str", message.topic())
        partition, offset = cast("int", message.partition()), cast("int", message.offset())
        key = message.key()
        value = self._deserialize(message.value(), SerializationContext(topic, MessageField.VALUE))
        self.records[self._names[topic]].append(Record(partition, offset, None if key is None else key.decode(), value))
        self._next[topic, partition] = offset + 1
