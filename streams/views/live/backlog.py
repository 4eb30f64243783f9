"""Changes from before a takeover, read from the state topic for clients that reconnect."""

import asyncio
from collections import defaultdict

from openbsp.kafka.connection import Config
from streams.engine.errors import UNAVAILABLE
from streams.engine.outside import Outside
from streams.engine.source import assign, read, reader
from streams.views.read.feed import RECENT, Feed, Recent

_BULK = 5_000
_WAIT_S = 0.2
_READS = 50


class Backlog:
    """Reads the state topic backwards in time, as far as clients need it."""

    def __init__(self, outside: Outside, connection: Config, group: str, topic: str) -> None:
        """Start with nothing read."""
        self._outside = outside
        self._connection = connection
        self._group = group
        self._topic = topic
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def reach(self, feed: Feed, position: int) -> None:
        """Extend the feed's memory back to a position, if that is not too long ago."""
        async with self._locks[feed.partition]:
            until = feed.start
            # Trap: `until` moves back with each call; only the end bounds how much is remembered.
            if position < until and feed.end - position <= RECENT:
                older = await self._outside.threads.run(self._read, feed.partition, position, until)
                if older is not None:
                    feed.extend(position, until, older)

    def _read(self, partition: int, start: int, until: int) -> list[Recent] | None:
        found: list[Recent] = []
        # Trap: a topic that was emptied has lost what is asked for; from its first record on would be no answer.
        consumer = reader(self._outside.clients, self._connection, self._group, missing="error")
        try:
            assign(consumer, {(self._topic, partition): start})
            for _ in range(_READS):
                some = read(consumer, _BULK, _WAIT_S)
                found += [
                    Recent(record.offset + 1, record.key.decode(), None)
                    for record in some.records
                    if record.key is not None and record.offset < until
                ]
                if some.reaches(until):
                    return found
        except UNAVAILABLE:
            return None
        finally:
            consumer.close()
        return None
