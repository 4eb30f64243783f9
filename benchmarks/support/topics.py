"""Topics of others than the project."""

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]


def create(servers: str, names: list[str], partitions: int) -> None:
    """Create topics, one replica each, and return when they are made. Raises KafkaException."""
    admin = AdminClient({"bootstrap.servers": servers})
    new = [NewTopic(name, num_partitions=partitions, replication_factor=1) for name in names]
    for future in admin.create_topics(new).values():
        future.result(30)
