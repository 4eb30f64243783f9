"""Standby copies: stores that follow the changelogs of others' partitions, so that a takeover reads only the rest.

A copy follows a changelog up to the offset that its owner has noted with its commits as verified, and no further: later
records may be a former owner's, and only a takeover can join them. So a copy is like a store of this worker that was
closed at that offset. Nothing is written to any topic, and nothing is committed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaException

from openbsp.kafka.connection import Config
from openbsp.log import event
from streams.engine.damage import TOPIC
from streams.engine.errors import MembershipError, RestoreFailedError, StoreDamagedError
from streams.engine.guard import FIRST
from streams.engine.membership import Committed
from streams.engine.outside import Outside, Thread
from streams.engine.partitions import Stores, damage, is_stale
from streams.engine.restore import Changelog
from streams.engine.source import Batch, assign, bounds, read, reader
from streams.engine.table import TableSpec
from streams.engine.takeover import Ends, is_former, noted_ends

if TYPE_CHECKING:
    from streams.engine.stores import Store

logger = logging.getLogger(__name__)

#: Seconds between two reads of the owners' notes.
EVERY_S = 5.0
#: Records applied at a time, in a thread beside the event loop: some milliseconds.
_BULK = 1_000
#: The pause of a copy after each bulk, as a multiple of the bulk's time: owned partitions have the rest of the
#: processor.
_RESTS = 3.0
_STALLED_S = 60.0
#: After so many failures in a row nobody waits for late partitions any more, and another client reads.
_TRIES = 5

At = tuple[str, int]
T = TypeVar("T")


class _Notes(NamedTuple):
    """What the owners have noted of their changelogs: verified ends, the topics' ids, and first offsets."""

    verified: Ends
    topics: Ends
    firsts: Ends


class Standby:
    """The standby copies of one assignment. `followed` is called with each one's lag, by table and partition."""

    def __init__(  # noqa: PLR0917 where from, and what
        self,
        outside: Outside,
        connection: Config,
        group: str,
        tables: Sequence[TableSpec],
        topic: Callable[[str], str],
        left: Callable[[Iterable[At]], Awaitable[Mapping[At, Committed]]],
        opened: Stores,
        followed: Callable[[Mapping[At, int]], None],
        passed: Callable[[], object],
        late: Collection[At] = (),
    ) -> None:
        """Prepare to follow all copies that are `opened`, or those of late partitions alone.

        `left` returns the committed positions of sources. `passed` is called each time when all have been followed as
        far as their owners' notes go, or could not be in several tries. Late ones are read without pauses, and kept as
        they are if they cannot be followed: with a changelog that is not what it was, one of them may be all that is
        left of its table.
        """
        self._outside = outside
        self._connection = connection
        self._group = group
        self._tables = {table.changelog: table for table in tables}
        self._topic = topic
        self._left = left
        self._opened = opened
        self._copies = sorted(late) or opened.copies
        self._late = bool(late)
        self._passed = passed
        self._stores: dict[At, Store] = {}
        self._followed = followed
        self._ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: Held while a thread is in the stores.
        self._in_use = asyncio.Lock()
        self._caught_up = False

    def start(self) -> "asyncio.Task[None]":
        """Start following; the task ends with an exception if a store cannot be written."""
        return asyncio.create_task(self._run())

    def cancel(self) -> None:
        """Stop after the current bulk."""
        if not self._ending.done():
            self._ending.set_result(None)

    async def stop(self) -> None:
        """Stop following; the stores are not in use when this returns."""
        self.cancel()
        # Trap: a request to a broker may wait for long, and a rebalance with it; only the stores have to be free.
        async with self._in_use:
            pass

    @property
    def _going(self) -> bool:
        return not self._ending.done()

    async def _run(self) -> None:
        partitions = sorted({number for _, number in self._copies})
        logger.info(
            "read late partitions %s" if self._late else "keep standby copies of partitions %s",
            partitions,
            extra=event("standby.following", partitions=partitions),
        )
        thread = self._outside.threads.thread("standby")
        # A position without a record has to be judged, not skipped.
        consumer = reader(self._outside.clients, self._connection, self._group, missing="error")
        try:
            # One after the other: a rebalance waits for one at most.
            for at in self._copies:
                await self._in_stores(thread, self._open, at)
            failures = 0
            while self._going:
                try:
                    await self._mend(thread)
                    await self._follow(thread, consumer)
                    passed, failures = True, 0
                except (KafkaException, MembershipError, RestoreFailedError, StoreDamagedError) as error:
                    failures += 1
                    passed = failures >= _TRIES or isinstance(error, StoreDamagedError)
                    logger.warning(
                        "%s, trying again: %s",
                        "late partitions were not read" if self._late else "standby copies were not followed",
                        error,
                        extra=event("standby.not_followed"),
                    )
                if failures and failures % _TRIES == 0:
                    # Trap: librdkafka may have lost its last broker, for good: docs/decisions/0246.
                    await thread.run(consumer.close)
                    consumer = reader(self._outside.clients, self._connection, self._group, missing="error")
                if passed and self._going:
                    self._passed()
                await asyncio.wait([self._ending], timeout=EVERY_S)
        finally:
            await thread.run(consumer.close)
            thread.close()

    async def _mend(self, thread: Thread) -> None:
        """Set aside the copies in which damage was found: their changelogs are followed from the first records."""
        for name, store in [] if self._late else list(self._stores.items()):
            if (why := damage(store)) is not None:
                await self._in_stores(thread, self._renew, name, why)

    async def _follow(self, thread: Thread, consumer: Consumer) -> None:
        """Follow all changelogs once, up to their owners' current notes."""
        sources = {(self._topic(self._tables[name].source), number) for name, number in self._stores}
        left = await self._unless_ending(self._left(sources))
        if left is None:
            return
        notes = _Notes(*(noted_ends(self._tables.values(), self._topic, left, of) for of in ("", TOPIC, FIRST)))
        names = {(self._topic(name), number): (name, number) for name, number in self._stores}
        found = await self._unless_ending(thread.run(bounds, consumer, names)) or {}
        unfit = self._unfit(found, names, notes)
        if self._late:
            found = {at: each for at, each in found.items() if at not in unfit}
        wanted = {}
        for at, (first, end) in found.items():
            name, noted = names[at], notes.verified.get(at)
            if at in unfit and not await self._in_stores(thread, self._renew, name, unfit[at]):
                return
            if at in notes.topics and not await self._in_stores(
                thread, self._stores[name].save_topic, notes.topics[at]
            ):
                return
            position = self._stores[name].position
            until = reach(position, noted, first, end, notes.firsts.get(at, 0))
            if until is not None:
                wanted[at] = max(position, first), until
            elif noted == position == end and not await self._in_stores(
                thread, self._stores[name].save_position, position
            ):
                return  # a complete copy is current: no delete is missing
        self._tell(found, names)
        count = await self._read(thread, consumer, names, wanted, partial(self._tell, found, names))
        if self._going and not self._caught_up and names.keys() <= notes.verified.keys():
            self._caught_up = True
            logger.info(
                "%s; read %d records",
                "late partitions are read" if self._late else "standby copies are caught up",
                count,
                extra=event("standby.caught_up", records=count),
            )

    def _tell(self, found: Mapping[At, tuple[int, int]], names: Mapping[At, At]) -> None:
        """Say how many records of the changelogs the copies lack."""
        if not self._going:
            return
        lacks = {names[at]: end - max(first, self._stores[names[at]].position) for at, (first, end) in found.items()}
        self._followed({name: max(0, count) for name, count in lacks.items()})

    def _unfit(self, found: Mapping[At, tuple[int, int]], names: Mapping[At, At], notes: "_Notes") -> dict[At, str]:
        """Return the changelogs that cannot be followed from where their copies are, and why."""
        unfit = {}
        for at, (first, end) in found.items():
            store, log = self._stores[names[at]], "{}[{}]".format(*at)
            why = problem(log, store.position, notes.verified.get(at), first, end)
            why = why or distrusted(log, store, notes.topics.get(at))
            if why is not None:
                unfit[at] = why
        return unfit

    async def _read(
        self,
        thread: Thread,
        consumer: Consumer,
        names: Mapping[At, At],
        wanted: Mapping[At, tuple[int, int]],
        tell: Callable[[], None],
    ) -> int:
        """Read changelogs from offsets to others; return the number of records.

        `tell` is called after each bulk.
        """
        changelogs = {
            at: Changelog(self._stores[names[at]], end, self._tables[names[at][0]].join)
            for at, (_, end) in wanted.items()
        }
        if not changelogs:
            return 0
        clock, count = self._outside.clock, 0
        progressed = clock.monotonic()
        await self._unless_ending(thread.run(assign, consumer, {at: start for at, (start, _) in wanted.items()}))
        try:
            while changelogs:
                found = await self._unless_ending(thread.run(read, consumer, _BULK, 0.2))
                if found is None:
                    return count
                now = clock.monotonic()
                if found.records or found.ends:
                    progressed = now
                elif now - progressed > _STALLED_S:
                    raise RestoreFailedError(
                        f"no changelog records for {_STALLED_S:.0f} s, still waiting for {sorted(changelogs)}"
                    )
                else:
                    continue
                if not await self._in_stores(thread, _apply, found, changelogs):
                    return count
                count += len(found.records)
                tell()
                await asyncio.wait([self._ending], timeout=0 if self._late else _RESTS * (clock.monotonic() - now))
        finally:
            if self._going:
                await thread.run(consumer.unassign)
        return count

    async def _unless_ending(self, call: Awaitable[T]) -> T | None:
        """Return the result of a call that uses no store, None if this ends before; raises what it raises."""
        asking = asyncio.ensure_future(call)
        first: list[asyncio.Future[Any]] = [asking, self._ending]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            return await asking
        asking.cancel()
        return None

    async def _in_stores(self, thread: Thread, call: Callable[..., object], *args: object) -> bool:
        """Run a call that uses stores, unless this ends; return whether it was done."""
        async with self._in_use:
            if self._going:
                await thread.run(call, *args)
                return True
        return False

    def _renew(self, name: At, why: str) -> None:
        self._stores[name] = self._opened.start_over(name, why)

    def _open(self, at: At) -> None:
        self._stores[at] = self._opened.open_copy(at)


def problem(name: str, position: int, noted: int | None, first: int, end: int) -> str | None:
    """Return why a copy cannot follow a changelog from its position, None if it can, or is empty.

    `noted` is the offset that its owner has noted as verified: None if there is none, 0 while it is rewritten.
    """
    if position == 0:
        return None
    if position > end:
        return f"{name} ends at {end}, but {position} records of it were in a standby copy: it was created again"
    if position < first:
        return f"{name} begins at {first}, but a standby copy had only {position} records of it: it was emptied"
    if noted == 0:
        return f"{name} is being written once more by its owner, so a standby copy begins with its first record"
    return None


def distrusted(name: str, store: "Store", topic: int | None) -> str | None:
    """Return why the rows of a copy cannot be relied upon though its position fits; `topic` is its owner's note."""
    if is_former(store, topic):
        # Trap: the new topic may have grown beyond the copy's position by now.
        return f"{name} is not the topic that a standby copy followed: it was created again"
    if store.position and is_stale(store):
        # Trap: its owner noted nothing for so long that tombstones after its position may be gone.
        return f"a standby copy of {name} was not followed for as long as tombstones are kept"
    return None


def reach(position: int, noted: int | None, first: int, end: int, known_first: int) -> int | None:
    """Return up to where a copy may follow a changelog now, None if it is there, or there is no note.

    `known_first` is the first offset that the owner has noted, 0 if none.
    """
    # Trap: what an emptied changelog has left is not all of its table. Until its owner has noted where it begins, it
    # lacks something, and a copy that had read no more than the rest would look whole.
    if position < first and first > known_first:
        return None
    return noted if noted is not None and max(position, first) < noted <= end else None


def _apply(found: Batch, changelogs: dict[At, Changelog]) -> None:
    """Apply what was read, and leave out the changelogs that are read as far as allowed."""
    reached: dict[At, int] = {}
    for record in found.records:
        at = record.topic, record.partition
        changelog = changelogs.get(at)
        if changelog is not None:
            if record.offset < changelog.doubtful:
                changelog.apply(record)
            reached[at] = min(record.offset + 1, changelog.doubtful)
    for topic, partition, end in found.ends:
        at = topic, partition
        if at in changelogs:
            reached[at] = min(end, changelogs[at].doubtful)
    at_end = {(topic, partition) for topic, partition, _ in found.ends}
    for at, position in reached.items():
        changelog = changelogs[at]
        if position >= changelog.doubtful or at in at_end:
            changelog.store.save_position(position)
            del changelogs[at]
        else:
            changelog.store.advance(position)
