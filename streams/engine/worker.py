"""The worker: what it owns, from the moment that it is told so until it is taken away.

owned -> stores opened -> restored from changelogs -> membership confirmed -> reading and joining
      -> lost: written, acknowledged, committed
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException

from openbsp.errors import RegistryError
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.kafka.registry import Registry
from streams.agents import conversations, messages
from streams.agents.conversations import ConversationTask
from streams.agents.join import Join
from streams.agents.messages import MessageTask
from streams.contract import Contract, Refused
from streams.engine.ends import Ends as LogEnds
from streams.engine.guard import Guard, KafkaLogs, note, noted
from streams.engine.membership import Committed, MembershipApp
from streams.engine.observer import Unobserved, WorkerObserver
from streams.engine.outside import Outside
from streams.engine.partitions import CONVERSATIONS, MESSAGES, TABLES, Stores
from streams.engine.restore import Changelog, restore
from streams.engine.source import Batch, Source, end_offsets, first_offsets, reader
from streams.engine.stores import Store
from streams.engine.writer import Writer
from streams.errors import FrozenError, LeaseLostError
from streams.eviction import Eviction
from streams.settings import StreamsSettings

logger = logging.getLogger(__name__)

_TICK_S = 0.002
_IDLE_TICK_S = 0.02
_RETRY_S = 0.2
_CHECK_INTERVAL_S = 1.0
_GUARD_INTERVAL_S = 5.0
_REPAIR_SLICE = 200

#: Catalogue names of the topics that only a partition's owner may write.
STATES = ("message-state", "conversation-state")
GUARDED = (*TABLES, *STATES)

#: By the catalogue name of a source: the guarded logs whose verified ends are noted with its positions.
_NOTED = {"messages": (MESSAGES, "message-state"), "conversations": (CONVERSATIONS, "conversation-state")}
_JOINS = {MESSAGES: messages.join_stored, CONVERSATIONS: conversations.join_stored}

Ends = dict[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class _Taken:
    """What was found when partitions were taken over.

    `ends` are those of the sources, `log_ends` those of the guarded logs, `verified` up to where these are in order.
    """

    positions: Ends
    ends: Ends
    log_ends: Ends
    verified: Ends
    restored: int


class Worker:
    """Joins the group, and joins the records of what it owns.

    `failure` is set once, with what makes it unable to go on; the process has to end then, at once.
    """

    def __init__(  # noqa: PLR0917 the four groups of settings, and who is told
        self,
        settings: StreamsSettings,
        kafka: KafkaSettings,
        registry: RegistrySettings,
        topics: TopicSettings,
        schema_ids: Mapping[str, int],
        observer: WorkerObserver | None = None,
        outside: Outside | None = None,
    ) -> None:
        """Build everything on the running event loop; nothing is connected yet."""
        self.settings = settings
        self._outside = outside or Outside()
        self._clock = self._outside.clock
        self.contract = Contract(topics.prefix, schema_ids)
        self.partition_count = topics.partitions
        self.failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self.join: Join | None = None
        self._observer = observer or Unobserved()
        self._registry = Registry(registry, topics.prefix)
        self._connection = kafka.librdkafka()
        self._stores = Stores(settings, self._clock)
        self._source: Source | None = None
        self._starting: asyncio.Task[None] | None = None
        self._restoring = object()
        self._epoch = 0
        self._next_batch = 0
        # Less than the group's patience: what is done later might be done after others have taken over.
        self._lease_s = settings.session_timeout_s * 0.8
        self._renewed_at = 0.0
        self._confirmed_at = 0.0
        self._ticked_at = 0.0
        #: The positions with which the present assignment began; empty while nothing is owned.
        self._began_at: Ends = {}
        self._begun = asyncio.Event()
        self._losing = asyncio.Lock()
        self._committing = asyncio.Lock()
        #: Positions and verified ends that were committed last in this assignment.
        self._committed: tuple[Ends, Ends] = ({}, {})
        self._guarded = {self.contract.topic(name): name for name in GUARDED}
        self._guard = Guard(KafkaLogs(self._outside, self._connection, settings.app_id))
        self._writer = Writer(
            self._outside.clients,
            kafka.producer(),
            self._lease_s,
            self._on_written,
            lambda checkpoint: self._observer.settled(checkpoint.received_at),
        )
        self.app = MembershipApp.create(
            settings.app_id,
            kafka=kafka,
            sources=frozenset(self.contract.names),
            url=settings.url,
            session_timeout_s=settings.session_timeout_s,
            on_owned=self._on_owned,
            on_lost=self._on_lost,
            on_failed=self.fail,
        )
        self._batches: Any = self.app.channel(maxsize=4)
        self.app.agent(self._batches, name="join")(self._agent)

    async def run(self) -> None:
        """Acknowledge, commit and watch the clock until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._acknowledge())
            tasks.create_task(self._commit_regularly())
            tasks.create_task(self._guard_regularly())
            tasks.create_task(self._check_regularly())
            if self.settings.idle_after_s is not None:
                tasks.create_task(self._evict_regularly(self.settings.idle_after_s))

    async def _acknowledge(self) -> None:
        self._ticked_at = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            if now - self._ticked_at > self._lease_s:
                raise FrozenError(
                    f"stood still for {now - self._ticked_at:.1f} s; others may own the partitions by now, so this ends"
                )
            self._ticked_at = now
            join = self.join
            if join is not None:
                if now - self._renewed_at > self._lease_s:
                    raise LeaseLostError(
                        f"nothing could be committed for {now - self._renewed_at:.1f} s; others may own the partitions"
                    )
                join.flush_if_due()
            self._writer.poll()
            self._observer.advanced()
            busy = not self._writer.idle or (join is not None and join.changed)
            await asyncio.sleep(_TICK_S if busy else _IDLE_TICK_S)

    async def _commit_regularly(self) -> None:
        interval_s = min(self.settings.commit_interval_ms / 1000, self._lease_s / 4)
        while True:
            await asyncio.sleep(interval_s)
            if self.join is not None:
                self._save_positions(self.join)
                await self._commit()

    async def _check_regularly(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_INTERVAL_S)
            await self.app.check()

    async def _evict_regularly(self, idle_after_s: float) -> None:
        ends = LogEnds(self._outside, self._connection)
        eviction = Eviction(
            idle_after_s, self.contract, self._writer, self.app, ends, partition_count=self.partition_count
        )
        await eviction.run(lambda: self.join)

    async def _guard_regularly(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._begun.wait(), _GUARD_INTERVAL_S)
            self._begun.clear()
            join = self.join
            if join is None:
                continue
            try:
                await self._guard.look(lambda: self._writer.idle)
                await self._repair(join)
            except (KafkaException, TimeoutError) as error:
                logger.warning("the own logs could not be looked at, trying again: %s", error)

    async def _repair(self, join: Join) -> None:
        """Write again what may be old in the guarded logs, once all that the predecessors knew is in the tables."""
        gaps = [gap for gap in self._guard.gaps if join.caught_up(gap.partition)]
        if not gaps:
            return
        keys = await self._guard.keys(gaps)
        # A commit proves that the partitions still are this worker's, so that the others' writes are the old ones.
        if not await self._commit() or self.join is not join:
            return
        logger.warning("writing %d keys again: others wrote %s", sum(map(len, keys.values())), gaps)
        written = []
        for (topic, partition), found in keys.items():
            ordered = sorted(found)
            for start in range(0, len(ordered), _REPAIR_SLICE):
                some = ordered[start : start + _REPAIR_SLICE]
                # Trap: in the middle of a removal the tables still have what is already taken back.
                if not await join.undisturbed() or self.join is not join:
                    return
                written.append(join.rewrite(self._guarded[topic], partition, some))
                await asyncio.sleep(0)
                if self.join is not join:
                    return
        while any(checkpoint.pending for checkpoint in written):
            await asyncio.sleep(_IDLE_TICK_S)
            if self.join is not join:
                return
        self._guard.repaired(gaps)

    @property
    def holds_lease(self) -> bool:
        """Whether no other worker can own these partitions yet: what is read from the tables is not old."""
        now = self._clock.monotonic()
        return now - self._ticked_at <= self._lease_s and now - self._confirmed_at <= self._lease_s

    def settled(self, topic: str, partition: int) -> int:
        """Return the offset of an owned source up to which (exclusive) all that its records cause is acknowledged."""
        at = (topic, partition)
        return max(self._writer.acknowledged.get(at, 0), self._began_at.get(at, 0))

    @property
    def commit_age_s(self) -> float:
        """Seconds since all that is acknowledged was last known to be committed; 0 while nothing is owned."""
        return self._clock.monotonic() - self._renewed_at if self._began_at else 0.0

    @property
    def unacknowledged(self) -> int:
        """How many written records the broker has not acknowledged."""
        return self._writer.outstanding

    def close(self) -> None:
        """Release the stores and drop what could not be written."""
        self._writer.close()
        self._stores.close()

    def fail(self, error: BaseException) -> None:
        """Note what makes the worker unable to go on."""
        if not self.failure.done():
            self.failure.set_result(error)

    async def _agent(self, batches: Any) -> None:
        async for batch in batches:
            await self._take(batch)

    async def _take(self, batch: Batch) -> None:
        join, source = self.join, self._source
        if join is None or source is None or batch.epoch != self._epoch:
            return
        try:
            self._expect(batch.number)
            self._observer.took(batch.records)
            if await join.process(batch.records, batch.ends):
                self._observer.joined(batch.records)
            self._observer.advanced()
        except Exception as error:  # noqa: BLE001 Faust would drop the batch and go on
            self.fail(error)
        finally:
            source.done()

    def _expect(self, number: int) -> None:
        if number != self._next_batch:
            raise AssertionError(f"batch {number} came, {self._next_batch} was expected")
        self._next_batch += 1

    def _on_owned(self, partitions: frozenset[int], generation: int) -> None:
        # Trap: the task is there before anything else can run, so that losing the partitions again finds it.
        self._restoring = object()
        self._starting = asyncio.create_task(self._start(partitions, generation))
        self._starting.add_done_callback(self._started)

    def _started(self, starting: asyncio.Task[None]) -> None:
        error = None if starting.cancelled() else starting.exception()
        if error is not None:
            self.fail(error)

    async def _start(self, partitions: frozenset[int], generation: int) -> None:
        began = self._clock.monotonic()
        stores = await self._outside.threads.run(self._stores.own, partitions)
        if not partitions:
            logger.info("no partitions in generation %d", generation)
            self._begin(partitions, {}, _Taken({}, {}, {}, {}, 0))
            return
        restoring = self._restoring

        def going() -> bool:
            return self._restoring is restoring

        sources = [(topic, p) for topic in self.contract.names for p in partitions]
        committed = await self.app.committed(sources)
        taken = await self._take_over(sources, committed, stores, going)
        if not going():
            return
        logger.info(
            "own partitions %s in generation %d; restored %d records in %.1f s",
            sorted(partitions),
            generation,
            taken.restored,
            self._clock.monotonic() - began,
        )
        self._guard.begin(taken.verified)
        self._began_at = taken.positions
        # Before anything is written, a successor must know from where on to distrust the logs.
        while not await self._commit():
            await asyncio.sleep(_RETRY_S)
            if not going():
                return
        if going():
            self._begin(partitions, stores, taken)

    async def _take_over(
        self,
        sources: list[tuple[str, int]],
        committed: Mapping[tuple[str, int], Committed],
        stores: Mapping[tuple[str, int], Store],
        going: Callable[[], bool],
    ) -> _Taken:
        """Restore the stores. What it returns is incomplete once `going()` is false."""
        verified = self._verified(committed)
        thread = self._outside.threads.thread("takeover")
        consumer = reader(self._outside.clients, self._connection, self.settings.app_id)
        try:
            guarded = {(topic, p) for topic in self._guarded for _, p in stores}
            log_ends = await thread.run(end_offsets, consumer, guarded)
            changelogs = {
                (at := (self.contract.topic(table), p)): Changelog(store, verified.get(at, 0), _JOINS[table])
                for (table, p), store in stores.items()
            }
            restored = await restore(
                consumer,
                changelogs,
                thread=thread,
                clock=self._clock,
                going=going,
                progress=self._observer.restoring,
            )
            for at, changelog in changelogs.items():
                log_ends[at] = changelog.store.position
            first = await thread.run(first_offsets, consumer, [at for at in sources if at not in committed])
            return _Taken(
                positions=first | {at: left.offset for at, left in committed.items()},
                ends=await thread.run(end_offsets, consumer, sources),
                log_ends=log_ends,
                verified={at: min(end, verified.get(at, end)) for at, end in log_ends.items()},
                restored=restored,
            )
        finally:
            await thread.run(consumer.close)
            thread.close()

    def _verified(self, committed: Mapping[tuple[str, int], Committed]) -> Ends:
        return {
            (self.contract.topic(name), partition): end
            for (_, partition), left in committed.items()
            for name, end in noted(left.note).items()
            if name in GUARDED
        }

    def _begin(self, partitions: frozenset[int], stores: Mapping[tuple[str, int], Store], taken: _Taken) -> None:
        settings = self.settings
        self._epoch += 1
        self._next_batch = 0
        self._renewed_at = self._confirmed_at = self._clock.monotonic()
        self.join = Join(
            self.contract,
            self._writer,
            {p: MessageTask(p, stores[MESSAGES, p], self.contract, self._writer) for p in partitions},
            {
                p: ConversationTask(
                    p, stores[CONVERSATIONS, p], self.contract, self._writer, settings.conversations_in_use
                )
                for p in partitions
            },
            positions=taken.positions,
            ends=taken.ends,
            coalesce_ms=settings.coalesce_ms,
            in_flight_records=settings.in_flight_records,
            learn=self._learn,
            on_refused=self._observer.refused,
            on_flush=self._observer.flushed,
        )
        self._observer.began(self.join, taken.log_ends)
        self._begun.set()
        if partitions:
            self._source = Source(
                reader(self._outside.clients, self._connection, settings.app_id),
                self._outside.threads.thread(f"source-{self._epoch}"),
                taken.positions,
                epoch=self._epoch,
                batch_records=settings.batch_records,
                deliver=self._batches.put,
                fail=self.fail,
            )
            self._source.start()

    async def _on_lost(self) -> None:
        # A stop can come during a rebalance: it has to wait as well.
        async with self._losing:
            self._restoring = object()
            if self._starting is not None and not self._starting.done():
                await asyncio.wait([self._starting])
            join, source = self.join, self._source
            self.join = self._source = None
            self._observer.lost()
            self._epoch += 1
            if source is not None:
                await source.stop()
            if join is not None and join.messages:
                await self._give_up(join)
            self._began_at = {}
            self._committed = ({}, {})
            self._guard.begin({})
            self._writer.forget()

    async def _give_up(self, join: Join) -> None:
        try:
            # Trap: what is written after the partitions are someone else's would overwrite newer state.
            async with asyncio.timeout(self._lease_s):
                await join.close()
                self._save_positions(join)
                await self._commit()
        except Exception as error:
            self.fail(error)
            raise
        logger.info("gave up partitions %s, everything written", sorted(join.messages))

    def _on_written(self, topic: str, partition: int, offset: int) -> None:
        self._guard.written(topic, partition, offset)
        self._observer.acknowledged(topic, partition, offset)

    def _save_positions(self, join: Join) -> None:
        """Remember in each store how far its changelog is in it: up to the last own record that is acknowledged."""
        for table, tasks in ((MESSAGES, join.messages), (CONVERSATIONS, join.conversations)):
            for partition, task in tasks.items():
                end = self._guard.end(self.contract.topic(table), partition)
                if end is not None and end > task.store.position:
                    task.store.save_position(end)

    async def _commit(self) -> bool:
        """Commit up to where everything is acknowledged, noting up to where the guarded logs are verified.

        Returns whether the coordinator has confirmed, now or a moment ago, that this worker is a member.
        """
        async with self._committing:
            asked_at = self._clock.monotonic()
            if not self._began_at:
                self._renewed_at = asked_at
                return False
            positions, verified = self._began_at | self._writer.acknowledged, self._guard.verified()
            if self._committed == (positions, verified):
                # There is nothing that a successor would lack. Readers need the proof of membership even so.
                self._renewed_at = asked_at
                if asked_at - self._confirmed_at <= self._lease_s / 4:
                    return True
            problem = await self.app.commit_positions(positions, self._notes(verified), self._lease_s / 2)
            if problem is not None:
                logger.warning("positions could not be committed, trying again: %s", problem)
                return False
            self._renewed_at = self._confirmed_at = asked_at
            self._committed = (positions, verified)
            return True

    def _notes(self, verified: Ends) -> dict[tuple[str, int], str]:
        return {
            (topic, partition): note({log: verified[self.contract.topic(log), partition] for log in _NOTED[name]})
            for topic, name in self.contract.names.items()
            if name in _NOTED
            for partition in {partition for _, partition in verified}
        }

    async def _learn(self, name: str, schema_id: int) -> bool:
        try:
            text = await self._outside.threads.run(self._registry.text, schema_id)
        except RegistryError as error:
            if error.absent:
                raise Refused("unknown_schema", f"schema id {schema_id} is not registered") from None
            logger.warning("waiting for the schema registry: %s", error)
            return False
        self.contract.decoders[name].learn(schema_id, text)
        return True
