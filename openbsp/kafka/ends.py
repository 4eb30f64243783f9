"""The current ends of partitions, asked for without a consumer, whose every question waits for its fetch in flight."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # as documented

if TYPE_CHECKING:
    from concurrent.futures import Future

#: A topic and the number of a partition.
At = tuple[str, int]


def ask(admin: AdminClient, partitions: Iterable[At], timeout_s: float) -> dict[At, "Future[Any]"]:
    """Ask for the end of each partition: the `offset` of what its future returns. They raise KafkaException.

    Trap: this request does not make librdkafka refresh the partition leaders, however often it fails: after a change of
    leaders it would fail for as long as metadata is cached, which is 15 minutes. After a failure ask for the topics,
    then again.
    """
    latest = {TopicPartition(*at): OffsetSpec.latest() for at in partitions}  # type: ignore[no-untyped-call]
    futures = admin.list_offsets(latest, request_timeout=timeout_s)
    return {(at.topic, at.partition): future for at, future in futures.items()}


def wait_for(admin: AdminClient, partitions: Iterable[At], timeout_s: float) -> dict[At, int]:
    """Return the end of each partition: the offset that the next record will have. Blocking. Raises KafkaException."""
    asked = list(partitions)
    try:
        return _answered(ask(admin, asked, timeout_s))
    except KafkaException:
        admin.list_topics(timeout=timeout_s)
        return _answered(ask(admin, asked, timeout_s))


def _answered(futures: dict[At, "Future[Any]"]) -> dict[At, int]:
    return {at: future.result().offset for at, future in futures.items()}
