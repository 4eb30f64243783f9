"""The current ends of topics, from the broker, without blocking the event loop."""

import asyncio
from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined] # as documented

from openbsp.kafka.connection import Config
from streams.engine.outside import Outside

_SHORTEST_S = 0.1


class Ends:
    """Reads ends, over a connection that is opened at first use."""

    def __init__(self, outside: Outside, connection: Config) -> None:
        """Connect to nothing yet."""
        self._outside = outside
        self._connection = connection
        self._admin: Any = None

    async def of(self, partitions: Iterable[tuple[str, int]], timeout_s: float) -> dict[tuple[str, int], int]:
        """Return the end of each partition: the offset that the next record will have. Raises KafkaException."""
        asked = list(partitions)
        if not asked:
            return {}
        if self._admin is None:
            self._admin = self._outside.clients.admin(self._connection)
        clock = self._outside.clock
        deadline = clock.monotonic() + timeout_s
        try:
            return await _ask(self._admin, asked, timeout_s)
        except KafkaException:
            # Trap: this request does not make librdkafka refresh the partition leaders, however often it fails: after a
            # change of leaders it would fail for as long as metadata is cached, which is 15 minutes.
            await self._outside.threads.run(self._admin.list_topics, timeout=_left(deadline - clock.monotonic()))
            return await _ask(self._admin, asked, deadline - clock.monotonic())


async def _ask(admin: Any, asked: Iterable[tuple[str, int]], left_s: float) -> dict[tuple[str, int], int]:
    latest = {TopicPartition(*at): OffsetSpec.latest() for at in asked}  # type: ignore[no-untyped-call]
    futures = admin.list_offsets(latest, request_timeout=_left(left_s))
    waiting = [asyncio.wrap_future(future) for future in futures.values()]
    found = await asyncio.gather(*waiting, return_exceptions=True)
    ends = {}
    for at, information in zip(futures, found, strict=True):
        if isinstance(information, BaseException):
            raise information
        ends[at.topic, at.partition] = information.offset
    return ends


def _left(seconds: float) -> float:
    return max(_SHORTEST_S, seconds)
