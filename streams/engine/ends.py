"""Where topics end now: what the broker says, asked without blocking the event loop."""

import asyncio
import time
from collections.abc import Iterable

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # as documented

from openbsp.kafka.connection import Config

_SHORTEST_S = 0.1


class Ends:
    """Asks for ends, over a connection that is opened when it is first needed."""

    def __init__(self, connection: Config) -> None:
        """Connect to nothing yet."""
        self._connection = connection
        self._admin: AdminClient | None = None

    async def of(self, partitions: Iterable[tuple[str, int]], timeout_s: float) -> dict[tuple[str, int], int]:
        """Return the end of each partition: the offset that the next record will have. Raises KafkaException."""
        asked = list(partitions)
        if not asked:
            return {}
        if self._admin is None:
            self._admin = AdminClient(dict(self._connection))
        deadline = time.monotonic() + timeout_s
        try:
            return await _ask(self._admin, asked, deadline)
        except KafkaException:
            # Trap: this request does not make librdkafka ask anew who leads a partition, however often it fails: after
            # a change of leaders it would fail for as long as metadata is kept, which is 15 minutes.
            await asyncio.to_thread(self._admin.list_topics, timeout=_left(deadline))
            return await _ask(self._admin, asked, deadline)


async def _ask(admin: AdminClient, asked: Iterable[tuple[str, int]], deadline: float) -> dict[tuple[str, int], int]:
    latest = {TopicPartition(*at): OffsetSpec.latest() for at in asked}  # type: ignore[no-untyped-call]
    futures = admin.list_offsets(latest, request_timeout=_left(deadline))
    waiting = [asyncio.wrap_future(future) for future in futures.values()]
    found = await asyncio.gather(*waiting, return_exceptions=True)
    ends = {}
    for at, information in zip(futures, found, strict=True):
        if isinstance(information, BaseException):
            raise information
        ends[at.topic, at.partition] = information.offset
    return ends


def _left(deadline: float) -> float:
    return max(_SHORTEST_S, deadline - time.monotonic())
