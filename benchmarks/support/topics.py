"""Topics in a broker that may have no leaders for a moment."""

import time
from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from openbsp.kafka.ends import ask

_TIMEOUT_S = 30.0
_RETRY_S = 0.1
_NO_LEADER_YET = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    # A broker that has just been started again, and has not heard of everything yet.
    KafkaError.UNKNOWN_LEADER_EPOCH,
}

#: By topic and partition.
Offsets = dict[tuple[str, int], int]


def create(servers: str, names: list[str], partitions: int) -> None:
    """Create topics whose records have the broker's time, one replica each. Raises KafkaException."""
    admin = AdminClient({"bootstrap.servers": servers})
    stamped = {"message.timestamp.type": "LogAppendTime"}
    new = [NewTopic(name, num_partitions=partitions, replication_factor=1, config=stamped) for name in names]
    for future in admin.create_topics(new).values():
        future.result(_TIMEOUT_S)


def ends(admin: AdminClient, topics: Iterable[str], partitions: int) -> Offsets:
    """Return the end of each partition of the topics; waits for leaders. Raises KafkaException."""
    asked = [(topic, partition) for topic in topics for partition in range(partitions)]
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            return {at: future.result().offset for at, future in ask(admin, asked, _TIMEOUT_S).items()}
        except KafkaException as error:
            if error.args[0].code() not in _NO_LEADER_YET or time.monotonic() > deadline:
                raise
        time.sleep(_RETRY_S)
