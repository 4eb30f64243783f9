"""Repair: foreign records in the guarded logs are overwritten from the tables."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from itertools import islice

from confluent_kafka import KafkaException

from openbsp.log import event
from streams.engine.assignment import Assignment
from streams.engine.guard import Guard
from streams.engine.stores import split_key
from streams.engine.table import TableSpec
from streams.engine.writer import Writer

logger = logging.getLogger(__name__)

_SLICE = 200
#: Entries of a table that are read before other tasks run.
_SCANNED = 2_000
_WAIT_S = 0.02


class Repair:
    """Detects foreign records and repairs them."""

    def __init__(
        self,
        guard: Guard,
        writer: Writer,
        commit: Callable[[], Coroutine[None, None, bool]],
        current: Callable[[], Assignment | None],
        tables: Mapping[str, TableSpec],
    ) -> None:
        """Start; `tables` has for each guarded log (topic) the table that it is derived from."""
        self._guard = guard
        self._writer = writer
        self._commit = commit
        self._current = current
        self._tables = tables
        self._looking = asyncio.Lock()

    async def look(self) -> None:
        """Compare the logs with this worker's own writes, and repair what can be. Failures are retried."""
        async with self._looking:
            work = self._current()
            if work is None:
                return
            try:
                await self._guard.look(lambda: self._writer.idle)
                await self._repair(work)
            except (KafkaException, TimeoutError) as error:
                text = "could not inspect own changelogs, retrying: %s"
                logger.warning(text, error, extra=event("repair.not_inspected"))

    async def _repair(self, work: Assignment) -> None:
        """Rewrite possibly old keys of the guarded logs, once all that the predecessors read is in the tables."""
        gaps = [gap for gap in self._guard.gaps if work.caught_up(gap.partition)]
        if not gaps:
            return
        keys = await self._guard.keys(gaps)
        for topic, partition in {(gap.topic, gap.partition) for gap in gaps if gap.start == 0}:
            keys[topic, partition] |= await self._stored(work, topic, partition)
        # A commit proves that the partitions still are this worker's, so that the foreign records are the old ones.
        if not await self._commit() or self._current() is not work:
            return
        count = sum(map(len, keys.values()))
        logger.warning(
            "rewriting %d keys: foreign writes in %s", count, gaps, extra=event("repair.started", keys=count)
        )
        written = []
        for (topic, partition), found in keys.items():
            table = self._tables[topic].changelog
            # Trap: sorting a large table's keys takes longer than the loop may be blocked.
            keys_left = iter(found)
            while some := list(islice(keys_left, _SLICE)):
                await work.room()
                checkpoint = await work.rewrite(table, partition, topic, some)
                if checkpoint is None or self._current() is not work:
                    return
                written.append(checkpoint)
                await asyncio.sleep(0)
        while any(checkpoint.pending for checkpoint in written):
            await asyncio.sleep(_WAIT_S)
            if self._current() is not work:
                return
        self._guard.repaired(gaps)

    async def _stored(self, work: Assignment, topic: str, partition: int) -> set[bytes]:
        """Return the keys that a log should have by its table, fewer once the assignment has ended."""
        # Trap: reading a large table takes longer than the loop may be blocked. Keys set meanwhile are written to the
        # changelog anyway.
        keys: set[bytes] = set()
        table = self._tables[topic]
        rows = work.rows[table.changelog][partition]
        by_group = table.grouped and topic != rows.changelog
        entries = rows.store.scan(b"")
        while self._current() is work and (some := [key for key, _ in islice(entries, _SCANNED)]):
            keys.update(split_key(key)[0] if by_group else key for key in some)
            await asyncio.sleep(0)
        return keys
