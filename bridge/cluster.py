"""The cluster that a command reads: its topics, and the schemas of their values."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from avro.catalogue import TOPICS, topic_name
from avro.columns import ENTITIES
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.kafka.reading import TopicReader, ValueReader
from openbsp.kafka.registry import Registry
from openbsp.settings import load

#: The state topic of each entity's rows; messages come first, as they are deleted first.
STATE_TOPICS: Mapping[str, str] = {name: entity.state for name, entity in ENTITIES.items() if entity.state}


@dataclass(frozen=True, slots=True)
class Cluster:
    """Kafka and the registry, and the names of the topics."""

    kafka: KafkaSettings
    registry: Registry
    topics: TopicSettings

    def reader(self, name: str) -> TopicReader:
        """Return a reader of a topic of the catalogue; see TopicReader for what it raises."""
        return TopicReader(self.kafka, topic_name(self.topics.prefix, name))

    def values(self, name: str) -> ValueReader | None:
        """Return the decoder of a topic's values; None if those are internal, without a schema."""
        record = TOPICS[name].schema
        return None if record is None else ValueReader(record, self.registry)


@contextlib.contextmanager
def configured() -> Iterator[Cluster]:
    """Yield the cluster of the environment's settings. Raises ConfigurationError."""
    kafka, registry, topics = load(KafkaSettings, RegistrySettings, TopicSettings)
    with Registry(registry, topics.prefix) as client:
        yield Cluster(kafka, client, topics)
