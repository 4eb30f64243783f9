"""Where topics end now: what the broker says, asked without blocking the event loop."""

import asyncio
from collections.abc import Iterable

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # as documented

from avro.connection import Config

_SHORTEST_S = 0.1


class Ends:
    """Asks for ends, over a connection that is opened when it is first needed."""

    def __init__(self, connection: Config) -> None:
        """Connect to nothing yet."""
        self._connection = connection
        self._admin: AdminClient | None = None

    async def of(self, partitions: Iterable[tuple[str, int]], timeout_s: float) -> dict[tuple[str, int], int]:
        """Return the end of each partition: the offset that the next record will have. Raises KafkaException."""
        asked = {TopicPartition(*at): OffsetSpec.latest() for at in partitions}  # type: ignore[no-untyped-call]
        if not asked:
            return {}
        if self._admin is None:
            self._admin = AdminClient(dict(self._connection))
        futures = self._admin.list_offsets(asked, request_timeout=max(_SHORTEST_S, timeout_s))
        waiting = [asyncio.wrap_future(future) for future in futures.values()]
        found = await asyncio.gather(*waiting, return_exceptions=True)
        ends = {}
        for at, information in zip(futures, found, strict=True):
            if isinstance(information, BaseException):
                raise information
            ends[at.topic, at.partition] = information.offset
        return ends
