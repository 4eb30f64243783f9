"""The engine: reads, checkpoints, restores and guards the partitions of one worker. It knows no domain.

Its states are a table (`lifecycle`). Faust, or a simulation, reports what it owns and runs the agents.
"""

import asyncio
import contextlib
import hashlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from openbsp.log import event
from streams.engine.assignment import Assignment
from streams.engine.barrier import Barrier
from streams.engine.checkpoints import Checkpoints
from streams.engine.damage import numbers
from streams.engine.end_offsets import Ends
from streams.engine.errors import MembershipError, PartitionsChangedError, TopicReplacedError, WriteFailedError
from streams.engine.guard import Guard, KafkaLogs
from streams.engine.hooks import Hooks
from streams.engine.layout import check, remembered
from streams.engine.lease import Lease
from streams.engine.lifecycle import Lifecycle, State
from streams.engine.membership import Committed, Membership
from streams.engine.outside import Outside
from streams.engine.partitions import Stores
from streams.engine.poison import Suspects
from streams.engine.repair import Repair
from streams.engine.settings import EngineSettings
from streams.engine.source import Batch, Record, Source, reader
from streams.engine.standby import Standby
from streams.engine.stores import Store
from streams.engine.stream import Part
from streams.engine.table import OwnedTable, TablePartition
from streams.engine.takeover import NOTHING, Found, Identify, Takeover
from streams.engine.writer import Checkpoint, Writer

logger = logging.getLogger(__name__)

At = tuple[str, int]

_TICK_S = 0.002
_IDLE_TICK_S = 0.02
_RETRY_S = 0.2
_LONGEST_RETRY_S = 2.0
_CHECK_INTERVAL_S = 1.0
_TOPICS_INTERVAL_S = 5.0
_ABSOLVE_S = 1.0
_LONGEST_TIDY_S = 60.0
_MARK_INTERVAL_S = 3600.0


@dataclass(frozen=True, slots=True)
class Given:
    """What a rebalance has given to this worker."""

    partitions: frozenset[int]
    generation: int
    standbys: frozenset[int]


class Engine:
    """One worker's share of a program.

    `failure` is set once, with what makes it unable to go on; the process has to end then, at once.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        sources: Sequence[str],
        tables: Mapping[str, OwnedTable],
        inbox: Callable[[str], Any],
        hooks: Hooks,
        outside: Outside,
        set_aside: Callable[[Record], None] | None = None,
    ) -> None:
        """Build everything on the running event loop; nothing is read yet.

        `sources` are topics, `tables` the declared tables, `inbox` returns the queue of the agent that reads a source.
        `set_aside` writes the dead letter of an event that ends workers; None: they end each time. Raises
        DataDirectoryError.
        """
        self.settings = settings
        self.outside = outside
        self.hooks = hooks
        self.sources = tuple(sources)
        self.failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self.assignment: Assignment | None = None
        #: Joins the group; set before anything is owned.
        self.membership: Membership
        #: Asked at each takeover; set before anything is owned. None: recreated topics are not recognised.
        self.identify: Identify | None = None
        self.lifecycle = Lifecycle()
        self.connection = settings.kafka.librdkafka()
        self._tables = tables
        self._inbox = inbox
        self._set_aside = set_aside
        self._clock = outside.clock
        specs = [table.spec for table in tables.values()]
        #: The topics that are read, or have to be written again: a new one of the same name ends this worker.
        self._watched = frozenset(sources) | {self.topic(log) for spec in specs for log in spec.logs}
        loop = asyncio.get_running_loop()

        def damaged(error: BaseException) -> None:
            loop.call_soon_threadsafe(self.fail, error)

        self._stores = Stores(
            settings,
            [(spec.changelog, spec.grouped) for spec in specs],
            self._clock,
            damaged,
        )
        self._ends: Ends | None = None
        self._source: Source | None = None
        self._processing: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._takeover: tuple[Takeover, asyncio.Task[None]] | None = None
        self._standby: Standby | None = None
        #: None once it was revoked.
        self._given: Given | None = None
        #: Those of the given partitions that are read from their changelogs while the others are at work.
        self.late: frozenset[int] = frozenset()
        self._widening: asyncio.Task[None] | None = None
        self._losing = asyncio.Lock()
        self._lease = Lease(settings.lease_s, self._clock)
        self._guard = Guard(KafkaLogs(outside, self.connection, settings.app_id))
        self.writer = Writer(
            outside.clients,
            outside.clock,
            settings.kafka.producer(),
            settings.lease_s,
            self._on_written,
            self._on_settled,
        )
        self._suspects = Suspects(settings.in_flight_records + 3 * settings.batch_records)
        noted: dict[str, dict[str, str]] = {}
        for spec in specs:
            noted.setdefault(self.topic(spec.source), {}).update({log: self.topic(log) for log in spec.logs})
        self._checkpoints = Checkpoints(
            lambda: self.membership,
            self.writer,
            self._guard,
            self._lease,
            self._clock,
            noted,
            settings.partitions,
            self._suspects,
        )
        self._repair = Repair(
            self._guard,
            self.writer,
            self._checkpoints.commit,
            lambda: self.assignment,
            {self.topic(log): spec for spec in specs for log in spec.logs},
        )

    def topic(self, log: str) -> str:
        """Return the topic of a log."""
        return self.settings.topic_prefix + log

    async def run(self) -> None:
        """Acknowledge, commit and watch the clock until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._acknowledge())
            tasks.create_task(self._flush_regularly())
            tasks.create_task(self._commit_regularly())
            tasks.create_task(self._mark_regularly())
            tasks.create_task(self._check_regularly())
            if self.settings.data_dir is not None:
                tasks.create_task(self._tidy_regularly())
            if self.identify is not None:
                tasks.create_task(self._watch_topics())

    @property
    def instance(self) -> str | None:
        """The name by which the group recognises this worker after a crash (KIP-345); None: it does not.

        It changes with what the members agree on: the group keeps what it knows of a name.
        """
        name = self._stores.identity
        if name is None:
            return None
        agreed: list[object] = [self.settings.url, sorted(self.sources), self.settings.partitions]
        if self.settings.standbys:  # not added at 0: names of workers without copies stay
            agreed.append(self.settings.standbys)
        return f"{name}-{hashlib.sha256(repr(tuple(agreed)).encode()).hexdigest()[:16]}"

    def barrier(self) -> Barrier:
        """Return a barrier for sources, valid as long as the present assignment.

        Raises MembershipError while nothing is owned.
        """
        if self.assignment is None:
            raise MembershipError("no partitions are owned")
        if self._ends is None:
            self._ends = Ends(self.outside, self.connection)
        return Barrier(
            self.assignment,
            lambda: self.assignment,
            self.membership,
            self._ends,
            self.writer,
            self.settings.partitions,
        )

    async def look_at_logs(self) -> None:
        """Search the guarded logs for foreign records, and repair them."""
        await self._repair.look()

    @property
    def holds_lease(self) -> bool:
        """Whether no other worker can own these partitions yet: reads from the tables are not stale."""
        return self._lease.held

    def identity(self, topic: str) -> int | None:
        """Return what tells a source or guarded log from former topics of the same name; None if it is not known."""
        return self._checkpoints.identities.get(topic)

    def settled(self, topic: str, partition: int) -> int:
        """Return the offset of an owned source up to which (exclusive) all effects of its records are acknowledged."""
        return self._checkpoints.acknowledged(topic, partition)

    @property
    def commit_age_s(self) -> float:
        """Seconds since everything acknowledged was last known to be committed; 0 while nothing is owned."""
        return 0.0 if self.assignment is None else self._lease.renewed_age_s

    @property
    def unacknowledged(self) -> int:
        """The number of written records that are not acknowledged."""
        return self.writer.outstanding

    @property
    def stores_compacted_at(self) -> int | None:
        """When each open store on disk had been compacted, in seconds since 1970; None if there is none."""
        return self._stores.compacted_at

    def owners(self, topic: str) -> dict[int, str]:
        """Return the address of the worker that owns each partition of a source, as of the last rebalance."""
        return self.membership.owners(topic)

    def fail(self, error: BaseException) -> None:
        """Record why the worker cannot go on."""
        if not self.failure.done():
            self.failure.set_result(error)

    async def close(self) -> None:
        """Close the stores and drop what could not be written."""
        self.writer.close()
        if self._standby is not None:
            await self._standby.stop()
        # Trap: closing writes to disks, and waits for a part of a compaction. Other tasks run meanwhile.
        await self.outside.threads.run(self._stores.close)

    def on_owned(self, partitions: frozenset[int], generation: int, standbys: frozenset[int] = frozenset()) -> None:
        """Take over the partitions with these numbers, of all sources alike. Keep copies of `standbys`.

        Those of which much has to be read come after the others: these go on meanwhile.
        """
        self._given = Given(partitions, generation, standbys)
        self._take(self._given, whole=False)

    def _take(self, given: Given, *, whole: bool) -> None:
        self.lifecycle.to(State.RESTORING)
        takeover = Takeover(
            self.outside,
            self.connection,
            self.settings.app_id,
            [table.spec for table in self._tables.values()],
            self.topic,
            self.hooks.restoring,
            self.settings.partitions,
            self.identify or dict,
        )
        # Trap: the task exists before any other code can run, so that losing the partitions again finds it.
        task = asyncio.create_task(self._restore_and_confirm(takeover, given, whole=whole))
        self._takeover = (takeover, task)
        task.add_done_callback(self._fail_with)

    async def on_lost(self) -> None:
        """Give everything up. When this returns, nothing of this worker may be written any more.

        Raises the error that prevented writing everything, after `fail` was called: the process has to end.
        """
        self._given = None
        # A stop can come during a rebalance: it has to wait as well.
        async with self._losing:
            await self._lose()

    async def _widen(self, given: Given) -> None:
        """Give up what is at work, and take over all that was given: nothing is late any more."""
        async with self._losing:
            if self._given is not given:
                return
            await self._lose()
            # Trap: the partitions may have been revoked meanwhile; nothing is awaited from here on.
            if self._given is given:
                self._take(given, whole=True)

    async def _lose(self) -> None:
        if self._standby is not None:
            self._standby.cancel()
        if self._takeover is not None:
            takeover, task = self._takeover
            takeover.cancel()
            await asyncio.wait([task])
            self._takeover = None
        work, source = self.assignment, self._source
        self.assignment = self._source = None
        if self.lifecycle.state is State.RUNNING:
            self.lifecycle.to(State.GIVING_UP)
        self.hooks.lost()
        if source is not None:
            await source.stop()
        if work is not None and work.partitions:
            await self._give_up(work)
        if self._processing is not None:
            self._processing.cancel()
            await asyncio.wait([self._processing])
            self._processing = None
        for table in self._tables.values():
            table.contents = {}
            table.rows = {}
        self._checkpoints.end()
        self._suspects.end()
        self._guard.begin({})
        self.writer.forget()
        if self._standby is not None:
            await self._standby.stop()
            self._standby = None
        self.late = frozenset()
        if self.lifecycle.state is not State.REVOKED:
            self.lifecycle.to(State.REVOKED)

    async def _give_up(self, work: Assignment) -> None:
        try:
            # Trap: writes after the partitions have moved would overwrite newer state.
            async with asyncio.timeout(self._lease.lease_s):
                await work.close()
                self._suspects.rest()
                self._save_positions()
                await self._checkpoints.commit()
        except Exception as error:
            self.fail(error)
            raise
        released = event("partitions.released", partitions=sorted(work.partitions))
        logger.info("released partitions %s: all writes are acknowledged", sorted(work.partitions), extra=released)

    def _follow(self) -> None:
        """Follow the changelogs of the standby copies, if there are any; those of late partitions before all others."""
        copies = self._stores.copies
        late = [at for at in copies if at[1] in self.late]
        if not copies:
            return
        self._standby = Standby(
            self.outside,
            self.connection,
            self.settings.app_id,
            [table.spec for table in self._tables.values()],
            self.topic,
            lambda sources: self.membership.committed(sources),  # noqa: PLW0108 the membership is set later
            self._stores,
            self._on_followed,
            self._on_passed,
            late,
        )
        self._standby.start().add_done_callback(self._fail_with)

    def _on_passed(self) -> None:
        # Whatever could not be read by now: the takeover reads it, and says what is wrong.
        given = self._given
        if given is not None and self.late and (self._widening is None or self._widening.done()):
            self._widening = asyncio.create_task(self._widen(given))
            self._widening.add_done_callback(self._fail_with)

    def _fail_with(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)

    async def _restore_and_confirm(self, takeover: Takeover, given: Given, *, whole: bool) -> None:
        began = self._clock.monotonic()
        generation = given.generation
        stores = await self._open(takeover, given, whole=whole)
        partitions = given.partitions - self.late
        if not takeover.going():
            return
        if not partitions:
            logger.info(
                "no partitions in generation %d", generation, extra=event("partitions.none", generation=generation)
            )
            told = await self._identities()
            if not takeover.going():
                return
            # It follows copies, and serves event streams: both need to know topics that are created again.
            self._checkpoints.begin({}, {}, told)
            # Nothing is committed before it begins.
            self._lease.confirm(self._clock.monotonic())
            self._own(partitions, {}, NOTHING)
            return
        sources = [(topic, number) for topic in self.sources for number in partitions]
        try:
            committed = await self._committed_positions()
            found = await takeover.run(sources, committed, stores)
        except PartitionsChangedError as error:
            # The worker stays up and joins nothing: if it ended, it would restart for ever, and /readyz could not say
            # why.
            advice = self.settings.more_partitions
            logger.critical("%s. %s", error, advice, extra=event("engine.partitions_changed"))
            self.hooks.partitions_changed(error.remembered)
            return
        if not takeover.going():
            return
        self.lifecycle.to(State.CONFIRMING)
        logger.info(
            "own partitions %s in generation %d; restored %d records in %.1f s",
            sorted(partitions),
            generation,
            found.restored,
            self._clock.monotonic() - began,
            extra=event("partitions.taken_over", generation=generation, restored=found.restored),
        )
        self._guard.begin(found.verified)
        self._guard.owe(found.incomplete)
        self._report_damage(found)
        self._suspects.begin(found.followed(committed), found.positions, found.ends)
        self._checkpoints.begin(found.positions, found.firsts, found.identities)
        # Before anything is written, a successor must know from where on to distrust the logs.
        if await self._commit_until(takeover.going):
            found.settle({(self.topic(name), number): store for (name, number), store in stores.items()})
            self._own(partitions, stores, found)

    async def _open(self, takeover: Takeover, given: Given, *, whole: bool) -> Mapping[At, Store]:
        """Return the stores of the partitions to take over now: all, or all but late ones."""
        stores = await self.outside.threads.run(self._stores.own, given.partitions, given.standbys)
        for table in self._stores.set_aside():
            self.hooks.store_set_aside(table)
        if whole or not takeover.going():
            return stores
        self.late = await self._much_to_read(takeover, stores)
        if not self.late:
            return stores
        now = given.partitions - self.late
        return await self.outside.threads.run(self._stores.own, now, given.standbys | self.late)

    async def _much_to_read(self, takeover: Takeover, stores: Mapping[At, Store]) -> frozenset[int]:
        """Return the partitions for which the others need not wait, if there are others."""
        if len({number for _, number in stores}) < 2:  # noqa: PLR2004 one has no other
            return frozenset()
        lacking = await takeover.lacks(stores)
        late = frozenset(number for number, count in lacking.items() if count > self.settings.late_records)
        if not late or late == lacking.keys():
            return frozenset()
        logger.info(
            "partitions %s are read from their changelogs first, at most %d records; the others are at work meanwhile",
            sorted(late),
            sum(lacking[number] for number in late),
            extra=event("partitions.late", partitions=sorted(late)),
        )
        return late

    def _report_damage(self, found: Found) -> None:
        """Report damage to sources and guarded logs."""
        for (topic, _), count in found.lost.items():
            self.hooks.records_lost(topic, count)
        for topic, _ in found.refused:
            self.hooks.position_refused(topic)
        for log in found.repaired:
            self.hooks.log_repaired(log)

    async def _identities(self) -> dict[str, int]:
        """Return what distinguishes topics from others that had their names, as far as known."""
        identify: Identify = self.identify or dict
        return numbers(await self.outside.threads.run(identify))

    async def _committed_positions(self) -> dict[At, Committed]:
        """Return the committed positions of all source partitions. Raises MembershipError, PartitionsChangedError."""
        # Also those of other workers: one that has new partitions only would not notice that they are new.
        everywhere = [(topic, number) for topic in self.sources for number in range(self.settings.partitions)]
        committed = await self.membership.committed(everywhere)
        check(self.settings.app_id, remembered(committed.values()), self.settings.partitions)
        return committed

    def _own(self, partitions: frozenset[int], stores: Mapping[At, Store], found: Found) -> None:
        settings = self.settings
        work = Assignment(
            self.writer,
            self._clock,
            sources=self.sources,
            partitions=partitions,
            positions=found.positions,
            ends=found.ends,
            coalesce_ms=settings.coalesce_ms,
            in_flight_records=settings.in_flight_records,
            in_flight_s=settings.in_flight_s,
            turn_s=settings.turn_s,
            flushed=self.hooks.flushed,
        )
        own_tables(work, self._tables, stores, self.topic, self.writer)
        self.lifecycle.to(State.RUNNING)
        self.assignment = work
        self.hooks.began(work, found.log_ends)
        self._follow()
        if not partitions:
            return
        batches: asyncio.Queue[Batch] = asyncio.Queue()
        self._source = Source(
            # Records deleted by retention under this reader end the worker: its next start counts and reports them.
            reader(self.outside.clients, self.connection, settings.app_id, missing="error"),
            self.outside.threads.thread("source"),
            found.positions,
            batch_records=settings.batch_records,
            deliver=batches.put,
            fail=self.fail,
            clock=self._clock,
            group_answered=self._lease.confirmed_since,
        )
        self._processing = asyncio.create_task(self._process_all(work, self._source, batches))
        self._source.start()

    async def _process_all(self, work: Assignment, source: Source, batches: "asyncio.Queue[Batch]") -> None:
        try:
            await self._mark_first(work)
        except Exception as error:  # noqa: BLE001 the worker has to end
            self.fail(error)
            return
        behind = set(work.partitions)
        while True:
            batch = await batches.get()
            try:
                if not work.ending.is_set():
                    await self._process(work, batch)
            except Exception as error:  # noqa: BLE001 the batch must not be forgotten
                self.fail(error)
                return
            finally:
                source.done()
            left = {number for number in behind if not work.caught_up(number)}
            if left != behind:
                # Before it comes to that by itself: until foreign records are repaired, a successor joins all that is
                # after them, what was removed with what is left of it.
                self._looking = asyncio.create_task(self.look_at_logs())
                self._looking.add_done_callback(self._fail_with)
            behind = left
            # Trap: while the next batch is there already, nothing else lets who waits for a moment between two have it.
            await asyncio.sleep(0)

    async def _mark_first(self, work: Assignment) -> None:
        # Trap: a producer can lose its first batch in a partition, and go on with the next one: docs/decisions/0252.
        # Values whose mark was in it would pass for told. So marks come first, alone, and are waited for.
        self._write_marks()
        await work.settle()

    async def _process(self, work: Assignment, batch: Batch) -> None:
        """Process a batch; while anything is in doubt in parts, each of which is noted before it is in progress."""
        if self._suspects.careful:
            await work.settle()
            for part, alone in self._suspects.parts(batch.records):
                if work.ending.is_set():
                    return
                if alone and self._set_aside is not None and self._suspects.is_poison(part[0]):
                    await self._poison(work, part[0], self._set_aside)
                else:
                    self._suspects.take(part, alone=alone)
                    if not await self._commit_until(lambda: not work.ending.is_set()):
                        return
                    if not await process(work, part, [], self._inbox, self.hooks):
                        return
                # Its writes may end a worker as well.
                await work.settle()
                self._suspects.done(part)
            await process(work, [], batch.ends, self._inbox, self.hooks)
        else:
            await process(work, batch.records, batch.ends, self._inbox, self.hooks)

    async def _commit_until(self, going: Callable[[], bool]) -> bool:
        """Commit, however long it takes; False once it is not `going` any more."""
        # Not by openbsp.backoff, which spreads its pauses at random: a simulated history has to be repeatable.
        pause_s = _RETRY_S
        while going():
            if await self._checkpoints.commit():
                return going()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_RETRY_S)
        return False

    async def _poison(self, work: Assignment, record: Record, set_aside: Callable[[Record], None]) -> None:
        """Set aside an event that has ended workers."""
        logger.critical(
            "%s[%d]@%d ended workers each time it was the only event in work; it is set aside as a dead letter",
            record.topic,
            record.partition,
            record.offset,
            extra=event("engine.event_set_aside", topic=record.topic, partition=record.partition, offset=record.offset),
        )
        await work.begin()
        set_aside(record)
        work.done(record)
        await work.end([], complete=True, changed=True)
        self.hooks.event_set_aside(record.topic)

    async def prepare_end(self, error: BaseException) -> None:
        """Save, if there is time, what would be lost with the process, for errors of the topics that it writes."""
        if isinstance(error, WriteFailedError | TopicReplacedError):
            # Trap: what no file of a store has yet is in its changelog only, and that may be gone.
            lease_s = self._lease.lease_s
            try:
                # Nothing watches the lease of a worker that has failed any more.
                async with asyncio.timeout(max(lease_s - self._lease.renewed_age_s, lease_s / 4)):
                    await self.outside.threads.run(self._stores.flush)
            except Exception as failure:  # noqa: BLE001 the process has to end for the first reason
                unsaved = event("store.not_flushed")
                logger.warning("a store was not written to its disk before the end: %r", failure, extra=unsaved)
        if isinstance(error, WriteFailedError):
            # The events in progress did not end this worker.
            self._suspects.absolve()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ABSOLVE_S):
                    await self._checkpoints.commit()

    async def _acknowledge(self) -> None:
        self._lease.start()
        while True:
            work = self.assignment
            self._lease.tick(owning=work is not None)
            self.writer.poll()
            self.hooks.advanced()
            await self._tick()

    async def _flush_regularly(self) -> None:
        while True:
            if self.assignment is not None:
                await self.assignment.flush_if_due()
            await self._tick()

    async def _tick(self) -> None:
        busy = not self.writer.idle or (self.assignment is not None and self.assignment.changed)
        await asyncio.sleep(_TICK_S if busy else _IDLE_TICK_S)

    async def _commit_regularly(self) -> None:
        interval_s = min(self.settings.commit_interval_ms / 1000, self._lease.lease_s / 4)
        while True:
            await asyncio.sleep(interval_s)
            if self.assignment is not None:
                self._save_positions()
                if not await self._checkpoints.commit():
                    await asyncio.sleep(_RETRY_S)

    async def _mark_regularly(self) -> None:
        while True:
            await asyncio.sleep(_MARK_INTERVAL_S)
            if self.assignment is not None:
                self._write_marks()

    async def _check_regularly(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_INTERVAL_S)
            await self.membership.check()

    async def _watch_topics(self) -> None:
        # Trap: librdkafka takes metadata with a lower leader epoch for old. A topic that was created again begins with
        # the lowest, so a consumer of the former one may wait for ever, without an error. A producer goes on, and
        # nobody notices that what it wrote before is gone.
        while True:
            await asyncio.sleep(_TOPICS_INTERVAL_S)
            known = self._checkpoints.identities
            if not known and self.assignment is None:
                continue
            told = await self._identities()
            if known is not self._checkpoints.identities:
                continue
            for topic in self._checkpoints.replaced({topic: told[topic] for topic in self._watched & told.keys()}):
                does = "reads all of it" if topic in self.sources else "writes all of it once more"
                self.fail(TopicReplacedError(f"{topic} was created again; a restart {does}"))

    async def _tidy_regularly(self) -> None:
        interval_s = self.settings.store_compaction_s
        while True:
            await asyncio.sleep(min(interval_s / 4, _LONGEST_TIDY_S))
            await self.outside.threads.run(self._stores.tidy, interval_s)

    def _on_written(self, topic: str, partition: int, offset: int) -> None:
        if self._guard.written(topic, partition, offset):
            self.hooks.log_repaired(topic.removeprefix(self.settings.topic_prefix))
        self.hooks.acknowledged(topic, partition, offset)

    def _on_settled(self, checkpoint: Checkpoint) -> None:
        self.hooks.settled(checkpoint.received_at)

    def _on_followed(self, lags: Mapping[At, int]) -> None:
        for table in self._stores.set_aside():
            self.hooks.store_set_aside(table)
        self.hooks.followed(lags)

    def _save_positions(self) -> None:
        """Store in each store how far it has its changelog: up to the last own record that is acknowledged."""
        for rows in self._rows():
            end = self._guard.end(rows.changelog, rows.number)
            if end is not None and end > rows.store.position:
                rows.store.save_position(end)

    def _write_marks(self) -> None:
        """Write the mark of each owned partition, as it is, to its changelog: before anything else, and once an hour.

        A broker forgets a producer that has written nothing to a partition for a day (`producer.id.expiration.ms`), and
        takes its next batch for a first one. A store whose changelog was quiet for as long as tombstones are kept would
        look as if it had missed some.
        """
        for rows in self._rows():
            rows.made_with(self.settings.partitions)

    def _rows(self) -> Iterator[TablePartition]:
        """Yield the owned partitions of all tables."""
        for table in self._tables.values():
            yield from table.rows.values()


def own_tables(
    work: Assignment,
    tables: Mapping[str, OwnedTable],
    stores: Mapping[At, Store],
    topic: Callable[[str], str],
    writer: Writer,
) -> None:
    """Open the tables of an assignment over their stores (by changelog's name and partition)."""
    for table in tables.values():
        spec = table.spec
        source = topic(spec.source)
        table.rows = {
            number: TablePartition(
                number,
                stores[spec.changelog, number],
                topic(spec.changelog),
                writer,
                lambda source=source, number=number: work.merged(source, number),  # type: ignore[misc] # bound for the linter
                lambda number=number: work.caught_up(number),  # type: ignore[misc] # as above
                work.ends.get((source, number), sys.maxsize),
            )
            for number in sorted(work.partitions)
        }
        table.contents = {number: spec.contents(rows) for number, rows in table.rows.items()}
    work.contents = {table.spec.changelog: table.contents for table in tables.values()}
    work.rows = {table.spec.changelog: table.rows for table in tables.values()}


async def process(
    work: Assignment,
    records: Sequence[Record],
    ends: Sequence[tuple[str, int, int]],
    inbox: Callable[[str], Any],
    hooks: Hooks,
) -> bool:
    """Give a batch to the agents, one after the other; return whether it is processed completely.

    After it the `ends` of partitions were reached.
    """
    hooks.took(records)
    await work.begin()
    complete = False
    try:
        complete = await _give(work, records, inbox)
    finally:
        await work.end(ends, complete=complete, changed=bool(records))
    if complete:
        await work.room()
        hooks.joined(records)
    hooks.advanced()
    return complete


async def _give(work: Assignment, records: Sequence[Record], inbox: Callable[[str], Any]) -> bool:
    by_topic: dict[str, list[Record]] = {}
    for topic, run in groupby(records, itemgetter(0)):
        by_topic.setdefault(topic, []).extend(run)
    for topic, events in by_topic.items():
        part = Part(work, events)
        await inbox(topic).put(part)
        await part.finished
        if work.ending.is_set():
            return False
    return True
