"""Takeover: what a new owner finds, and the tables restored from it."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from openbsp.kafka.connection import Config
from streams.engine.guard import noted
from streams.engine.membership import Committed
from streams.engine.outside import Outside
from streams.engine.restore import Changelog, restore
from streams.engine.source import end_offsets, first_offsets, reader
from streams.engine.stores import Store
from streams.engine.table import TableSpec

logger = logging.getLogger(__name__)

At = tuple[str, int]
Ends = dict[At, int]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found when partitions were taken over.

    `ends` are those of the sources, `log_ends` those of the guarded logs, `verified` up to where these are in order.
    """

    positions: Ends
    ends: Ends
    log_ends: Ends
    verified: Ends
    restored: int


NOTHING = Found({}, {}, {}, {}, 0)


class Takeover:
    """Takes partitions over; `cancel` it when they are taken away meanwhile."""

    def __init__(  # noqa: PLR0917 where from, and what
        self,
        outside: Outside,
        connection: Config,
        group: str,
        tables: Sequence[TableSpec],
        topic: Callable[[str], str],
        restoring: Callable[[int, int], None],
    ) -> None:
        """Prepare; `topic` gives the topic of a log, `restoring` is told how many of how many records were read."""
        self._cancelled = False
        self._outside = outside
        self._connection = connection
        self._group = group
        self._tables = tables
        self._topic = topic
        self._restoring = restoring

    def cancel(self) -> None:
        """Stop at the next bulk; what `run` returns then is incomplete."""
        self._cancelled = True

    def going(self) -> bool:
        """Return whether the partitions have not been taken away meanwhile."""
        return not self._cancelled

    async def run(self, sources: Iterable[At], committed: Mapping[At, Committed], stores: Mapping[At, Store]) -> Found:
        """Bring the stores (by changelog's name and partition) up to date, and return what was found."""
        sources = list(sources)
        verified = self._verified(committed)
        guarded = {self._topic(log) for table in self._tables for log in table.logs}
        joins = {table.changelog: table.join for table in self._tables}
        thread = self._outside.threads.thread("takeover")
        consumer = reader(self._outside.clients, self._connection, self._group)
        try:
            owned = {partition for _, partition in stores}
            log_ends = await thread.run(end_offsets, consumer, [(log, number) for log in guarded for number in owned])
            changelogs = {
                (at := (self._topic(name), number)): Changelog(store, verified.get(at, 0), joins[name])
                for (name, number), store in stores.items()
            }
            restored = await restore(
                consumer,
                changelogs,
                thread=thread,
                clock=self._outside.clock,
                going=self.going,
                progress=self._restoring,
            )
            for at, changelog in changelogs.items():
                log_ends[at] = changelog.store.position
            first = await thread.run(first_offsets, consumer, [at for at in sources if at not in committed])
            return Found(
                positions=first | {at: left.offset for at, left in committed.items()},
                ends=await thread.run(end_offsets, consumer, sources),
                log_ends=log_ends,
                verified={at: min(end, verified.get(at, end)) for at, end in log_ends.items()},
                restored=restored,
            )
        finally:
            await thread.run(consumer.close)
            thread.close()

    def _verified(self, committed: Mapping[At, Committed]) -> Ends:
        logs = {log for table in self._tables for log in table.logs}
        return {
            (self._topic(name), partition): end
            for (_, partition), left in committed.items()
            for name, end in noted(left.note).items()
            if name in logs
        }
