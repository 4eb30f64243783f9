"""The current ends of topics, from the broker, without blocking the event loop."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaException

from openbsp.kafka.connection import Config
from openbsp.kafka.ends import At, ask
from streams.engine.outside import Outside

_SHORTEST_S = 0.1


class Ends:
    """Reads ends, over a connection that is opened at first use."""

    def __init__(self, outside: Outside, connection: Config) -> None:
        """Connect to nothing yet."""
        self._outside = outside
        self._connection = connection
        self._admin: Any = None

    async def of(self, partitions: Iterable[At], timeout_s: float) -> dict[At, int]:
        """Return the end of each partition: the offset that the next record will have. Raises KafkaException."""
        wanted = list(partitions)
        if not wanted:
            return {}
        if self._admin is None:
            self._admin = self._outside.clients.admin(self._connection)
        clock = self._outside.clock
        deadline = clock.monotonic() + timeout_s
        asked = [self._admin]
        with contextlib.suppress(KafkaException):
            return await _ask(asked[0], wanted, timeout_s)
        # See `ask`.
        await self._outside.threads.run(self._look, asked, _left(deadline - clock.monotonic()))
        return await _ask(self._admin, wanted, deadline - clock.monotonic())

    def _look(self, asked: list[Any], timeout_s: float) -> None:
        admin = asked.pop()
        try:
            admin.list_topics(timeout=timeout_s)
        except KafkaException as error:
            # Trap: librdkafka may have lost its last broker, for good: docs/decisions/0246.
            if self._admin is admin:
                self._admin = self._outside.clients.admin(self._connection)
            # Trap: whoever drops a client last closes it, which may block for seconds. So each question drops its own
            # in its thread: frames that the event loop would drop with the exception must not refer to it.
            raise error.with_traceback(None) from None
        finally:
            del admin


async def _ask(admin: Any, asked: Iterable[At], left_s: float) -> dict[At, int]:
    futures = ask(admin, asked, _left(left_s))
    waiting = [asyncio.wrap_future(future) for future in futures.values()]
    found = await asyncio.gather(*waiting, return_exceptions=True)
    del admin  # Trap: exceptions refer to this frame, in a circle.
    ends = {}
    for at, information in zip(futures, found, strict=True):
        if isinstance(information, BaseException):
            raise information
        ends[at] = information.offset
    return ends


def _left(seconds: float) -> float:
    return max(_SHORTEST_S, seconds)
