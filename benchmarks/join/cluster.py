"""The broker as all contestants find it: the same input, already there, and topics that tell when a record arrived.

Topics have the broker's time (`LogAppendTime`): its clock, not the contestant's, says when an output was written.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
)
from support.topics import Offsets, ends

from avro.catalogue import TOPICS, topic_name
from avro.columns import ENTITIES
from avro.identity import event_id
from avro.jsontext import encode
from bridge.delivery import items
from bridge.delivery.records import RecordMaker
from join.workload import Event
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.kafka.registry import Registry
from openbsp.kafka.topics import Topics

PREFIX = "bench."
PARTITIONS = 4
INPUTS = tuple(topic_name(PREFIX, entity.topic) for entity in ENTITIES.values())
OUTPUTS = tuple(topic_name(PREFIX, name) for name in ("message-state", "conversation-state", "status-changes"))
#: Between the two steps of the project's join, and what its tables are restored from.
CONTRIBUTIONS = topic_name(PREFIX, "streams-contributions")
CHANGELOGS = tuple(topic_name(PREFIX, name) for name in TOPICS if name.endswith("-changelog"))

_TIMEOUT_S = 30.0
_NO_COORDINATOR_YET = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
}

#: Topic, value, key and headers of a record.
Encoded = tuple[str, bytes, bytes, dict[str, bytes]]


@dataclass
class Cluster:
    """Topics and schemas under PREFIX, in a broker that does nothing else."""

    bootstrap_servers: str
    registry_url: str
    partitions: int = PARTITIONS
    schema_ids: Mapping[str, int] = field(init=False)
    #: By record and version, for who writes or reads older ones.
    version_ids: Mapping[tuple[str, int], int] = field(init=False)

    def __post_init__(self) -> None:
        """Register the schemas."""
        registry = Registry(RegistrySettings(url=self.registry_url), PREFIX)
        self.version_ids = {(each.record, each.version): each.schema_id for each in registry.register()}
        self.schema_ids = registry.ids()

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient(self.client)

    @property
    def client(self) -> dict[str, str | int | float | bool]:
        """The configuration of a client; failures come as errors, not on standard error."""
        return {"bootstrap.servers": self.bootstrap_servers, "log_level": 0}

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which the project's own processes find everything."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "SCHEMA_REGISTRY_URL": self.registry_url,
            "TOPIC_PREFIX": PREFIX,
            "TOPIC_PARTITIONS": str(self.partitions),
            "TOPIC_REPLICATION_FACTOR": "1",
            "TOPIC_MIN_INSYNC_REPLICAS": "1",
            # As the other contestants, which compress nothing unless told.
            "KAFKA_COMPRESSION": "none",
        }

    def reset(self, *, keep: Iterable[str] = ()) -> None:
        """Delete all topics but those to keep, and create those of the catalogue again, empty."""
        kept = set(keep)
        # Trap: the broker names a deleted topic for another moment, and what is named is not created.
        while doomed := self._besides(kept):
            for future in self._admin.delete_topics(doomed, operation_timeout=_TIMEOUT_S).values():
                try:
                    future.result(_TIMEOUT_S)
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                        raise
        Topics(
            KafkaSettings(bootstrap_servers=self.bootstrap_servers),
            TopicSettings(prefix=PREFIX, partitions=self.partitions, replication_factor=1, min_insync_replicas=1),
        ).apply()

    def _besides(self, kept: Collection[str]) -> list[str]:
        names = self._admin.list_topics(timeout=_TIMEOUT_S).topics
        return [name for name in names if name not in kept and not name.startswith("__")]

    def fill(self, events: Iterable[Event]) -> None:
        """Write the events as the bridge does, each to its topic."""
        self.write(self.records(events))

    def write(self, records: Iterable[Encoded]) -> None:
        """Write records, and return when the broker has all of them."""
        producer = Producer(
            {
                **self.client,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 5,
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        failures: list[str] = []

        def delivered(error: object, _: Message) -> None:
            if error is not None:
                failures.append(str(error))

        for number, (topic, value, key, headers) in enumerate(records):
            producer.produce(topic, value, key, headers=headers, on_delivery=delivered)
            if number % 1000 == 0:
                producer.poll(0)
        producer.flush()
        if failures:
            raise RuntimeError(f"{len(failures)} events were not written, the first because of: {failures[0]}")

    def records(self, events: Iterable[Event]) -> Iterator[Encoded]:
        """Yield the records that the bridge makes of the events."""
        maker = RecordMaker(PREFIX, "openbsp", self.schema_ids)
        for event in events:
            data = encode(event.row)
            identity = event_id(event.entity, event.action, data)
            made = maker.record(
                items.Event(ENTITIES[event.entity], event.action, event.row, data, identity, event.at + 50_000)
            )
            assert made.key is not None
            yield made.topic, made.value, made.key, dict(made.headers)

    def ends(self, topics: Iterable[str]) -> Offsets:
        """Return the end of each partition of the topics; waits for leaders, which new topics may lack for a moment."""
        return ends(self._admin, topics, self.partitions)

    @contextmanager
    def positions(self, group: str, topics: Sequence[str]) -> Iterator[Callable[[], Offsets]]:
        """Yield a function that tells what a group has committed for topics; negative: nothing yet."""
        # Trap: the admin client's list_consumer_group_offsets may crash the process while the broker loads the group.
        consumer = self._reader(group)
        asked = [TopicPartition(topic, partition) for topic in topics for partition in range(self.partitions)]

        def committed() -> Offsets:
            try:
                found = consumer.committed(asked, timeout=_TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() not in _NO_COORDINATOR_YET:
                    raise
                found = asked
            return {(position.topic, position.partition): position.offset for position in found}

        try:
            yield committed
        finally:
            consumer.close()

    def read(self, topic: str) -> Iterable[Message]:
        """Yield every record that the topic has now."""
        consumer = self._reader()
        try:
            ends = {partition: end for (_, partition), end in self.ends([topic]).items() if end > 0}
            consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in ends])
            while ends:
                messages = consumer.consume(10_000, timeout=0.1)
                for message in messages:
                    if message.error() is not None:
                        raise RuntimeError(f"{topic}: {message.error()}")
                    yield message
                # Trap: compaction and markers leave gaps, so a last record's offset says nothing about the end.
                for position in consumer.position([TopicPartition(topic, partition) for partition in ends]):
                    if position.offset >= ends[position.partition]:
                        del ends[position.partition]
        finally:
            consumer.close()

    def size(self, topics: Iterable[str]) -> tuple[int, int]:
        """Return the number of records, and the bytes of their keys, values and headers, uncompressed."""
        records = size = 0
        for topic in topics:
            for record in self.read(topic):
                records += 1
                size += len(record.key() or b"") + len(record.value() or b"")
                size += sum(len(name) + len(value or b"") for name, value in record.headers() or ())
        return records, size

    def _reader(self, group: str = "benchmark") -> Consumer:
        return Consumer(
            {
                **self.client,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
