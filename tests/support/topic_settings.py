"""Settings and records of topics, changed and looked at as somebody else than the project does."""

from collections.abc import Sequence

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    DeletedRecords,
    OffsetSpec,
    ResourceType,
)

from support.wait import eventually


def settings_of(admin: AdminClient, topic: str) -> dict[str, str]:
    """Return all settings of a topic."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    return {entry.name: entry.value for entry in admin.describe_configs([resource])[resource].result(10).values()}


def change_settings(admin: AdminClient, topic: str, **settings: str) -> None:
    """Set them, with `_` for each dot of a name, and return when the broker works by them.

    Trap: the controller answers, and the broker hears of it a moment later.
    """
    wanted = {name.replace("_", "."): value for name, value in settings.items()}
    entries = [ConfigEntry(*setting, incremental_operation=AlterConfigOpType.SET) for setting in wanted.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin.incremental_alter_configs([resource])[resource].result(10)
    eventually(lambda: wanted.items() <= settings_of(admin, topic).items())


def empty(admin: AdminClient, plain: Sequence[str], compacted: Sequence[str] = ()) -> None:
    """Delete all records of topics, also of compacted ones, whose policy forbids it."""
    for topic in compacted:
        change_settings(admin, topic, cleanup_policy="compact,delete")
    existing = admin.list_topics(timeout=10).topics
    places = [TopicPartition(topic, number) for topic in (*plain, *compacted) for number in existing[topic].partitions]
    ends = admin.list_offsets({place: OffsetSpec.latest() for place in places})
    doomed = [TopicPartition(place.topic, place.partition, end.result(10).offset) for place, end in ends.items()]

    def emptied() -> bool:
        try:
            return all(isinstance(gone.result(10), DeletedRecords) for gone in admin.delete_records(doomed).values())
        except KafkaException as error:  # the policy is not everywhere yet
            raise AssertionError from error

    eventually(emptied)
    for topic in compacted:
        change_settings(admin, topic, cleanup_policy="compact")
