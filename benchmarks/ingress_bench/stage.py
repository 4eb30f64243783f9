"""A broker and a registry in which the endpoints find their topics."""

from support.topics import create

from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.kafka.registry import Registry
from openbsp.kafka.topics import Topics
from openbsp.local.stack import LocalStack

TOKEN = "token-of-the-benchmark"
PARTITIONS = 4
#: Where the bridge's messages go; each of the others has a topic of its own name.
MESSAGES = "openbsp.messages"

_READY_S = 300.0


def start(stack: LocalStack, others: list[str]) -> dict[str, str]:
    """Start both, make all topics, and return the variables with which the bridge finds them."""
    stack.start(_READY_S)
    topics = TopicSettings(partitions=PARTITIONS, replication_factor=1, min_insync_replicas=1)
    Topics(KafkaSettings(bootstrap_servers=stack.kafka), topics).apply()
    Registry(RegistrySettings(url=stack.registry), topics.prefix).register()
    create(stack.kafka, others, PARTITIONS)
    return {
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka,
        "SCHEMA_REGISTRY_URL": stack.registry,
        "TOPIC_PARTITIONS": str(PARTITIONS),
        "TOPIC_REPLICATION_FACTOR": "1",
        "TOPIC_MIN_INSYNC_REPLICAS": "1",
        "BRIDGE_TOKENS": f"benchmark={TOKEN}",
    }
