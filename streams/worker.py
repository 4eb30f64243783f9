"""The worker: what it owns, from the moment that it is told so until it is taken away.

owned -> stores opened -> restored from changelogs -> reading and joining -> lost: written, acknowledged, committed
"""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from avro.connection import KafkaSettings, RegistrySettings, TopicSettings
from avro.errors import RegistryError
from avro.registry import Registry
from streams.agents.conversations import ConversationTask
from streams.agents.join import Join
from streams.agents.messages import MessageTask
from streams.contract import Contract, Refused
from streams.errors import FrozenError, LeaseLostError
from streams.guard import Guard
from streams.membership import MembershipApp
from streams.observer import Unobserved, WorkerObserver
from streams.partitions import CONVERSATIONS, MESSAGES, TABLES, Stores
from streams.restore import restore
from streams.settings import StreamsSettings
from streams.source import Batch, Source, committed_offsets, end_offsets, reader
from streams.writer import Writer

logger = logging.getLogger(__name__)

_TICK_S = 0.002
_IDLE_TICK_S = 0.02
_GUARD_INTERVAL_S = 5.0

#: Catalogue names of the topics that only a partition's owner may write.
STATES = ("message-state", "conversation-state")
GUARDED = (*TABLES, *STATES)

Ends = dict[tuple[str, int], int]


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
    ) -> None:
        """Build everything on the running event loop; nothing is connected yet."""
        self.settings = settings
        self.contract = Contract(topics.prefix, schema_ids)
        self.partition_count = topics.partitions
        self.failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self.join: Join | None = None
        self._observer = observer or Unobserved()
        self._registry = Registry(registry, topics.prefix)
        self._connection = kafka.librdkafka()
        self._stores = Stores(settings)
        self._source: Source | None = None
        self._starting: asyncio.Task[None] | None = None
        self._stop_restoring = threading.Event()
        self._epoch = 0
        self._next_batch = 0
        # Less than the group's patience: what is done later might be done after others have taken over.
        self._lease_s = settings.session_timeout_s * 0.8
        self._renewed_at = 0.0
        self._confirmed_at = 0.0
        self._ticked_at = 0.0
        self._began_at: Ends = {}
        self._guarded = {self.contract.topic(name): name for name in GUARDED}
        self._guard = Guard(self._connection, settings.app_id)
        self._writer = Writer(self._connection, self._lease_s, self._on_written)
        self._committed: dict[tuple[str, int], int] = {}
        self.app = MembershipApp.create(
            settings.app_id,
            brokers=kafka.bootstrap_servers,
            sources=frozenset(self.contract.names),
            url=settings.url,
            session_timeout_s=settings.session_timeout_s,
            on_owned=self._on_owned,
            on_lost=self._on_lost,
        )
        self._batches: Any = self.app.channel(maxsize=4)
        self.app.agent(self._batches, name="join")(self._agent)

    async def run(self) -> None:
        """Acknowledge, commit and watch the clock until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._acknowledge())
            tasks.create_task(self._commit_regularly())
            tasks.create_task(self._guard_regularly())

    async def _acknowledge(self) -> None:
        self._ticked_at = time.monotonic()
        while True:
            now = time.monotonic()
            if now - self._ticked_at > self._lease_s:
                raise FrozenError(
                    f"stood still for {now - self._ticked_at:.1f} s; others may own the partitions by now, so this ends"
                )
            self._ticked_at = now
            join = self.join
            if join is not None:
                join.flush_if_due()
            self._writer.poll()
            self._observer.advanced()
            busy = not self._writer.idle or (join is not None and join.changed)
            await asyncio.sleep(_TICK_S if busy else _IDLE_TICK_S)

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(self.settings.commit_interval_ms / 1000)
            if self.join is not None:
                self._save_positions(self.join)
            await self._commit()

    async def _guard_regularly(self) -> None:
        guarded_join = None
        foreign: dict[tuple[str, int], set[bytes]] = {}
        while True:
            await asyncio.sleep(_GUARD_INTERVAL_S)
            join = self.join
            if join is not guarded_join:
                guarded_join, foreign = join, {}
            if join is None:
                continue
            await self._guard.look(lambda: self._writer.idle)
            for at, keys in (await self._guard.foreign_keys()).items():
                foreign.setdefault(at, set()).update(keys)
            # A commit proves that the partitions still are this worker's, so that the others' writes are the old ones.
            if foreign and self._committed and await self.app.commit_positions(self._committed) is None:
                if self.join is not join:
                    continue
                for (topic, partition), keys in foreign.items():
                    join.rewrite(self._guarded[topic], partition, keys)
                join.flush()
                foreign = {}

    @property
    def holds_lease(self) -> bool:
        """Whether no other worker can own these partitions yet: what is read from the tables is not old."""
        now = time.monotonic()
        return now - self._ticked_at <= self._lease_s and now - self._confirmed_at <= self._lease_s

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
            await join.process(batch.records, batch.ends)
            self._observer.advanced()
        except Exception as error:  # noqa: BLE001 Faust would drop the batch and go on
            self.fail(error)
        finally:
            source.done()

    def _expect(self, number: int) -> None:
        if number != self._next_batch:
            raise AssertionError(f"batch {number} came, {self._next_batch} was expected")
        self._next_batch += 1

    async def _on_owned(self, partitions: frozenset[int], generation: int) -> None:
        self._stop_restoring = threading.Event()
        self._starting = asyncio.create_task(self._start(partitions, generation))
        try:
            await self._starting
        except asyncio.CancelledError:
            logger.info("interrupted while taking over partitions %s", sorted(partitions))
        except Exception as error:  # noqa: BLE001 whatever it is, these partitions would not be processed
            self.fail(error)

    async def _start(self, partitions: frozenset[int], generation: int) -> None:
        began = time.monotonic()
        stores = await asyncio.to_thread(self._stores.own, partitions)
        if not partitions:
            logger.info("no partitions in generation %d", generation)
            self._begin(partitions, {}, {}, {}, {})
            return
        state_logs = [(self.contract.topic(name), p) for name in STATES for p in partitions]
        at_changelog = {(self.contract.topic(table), p): store for (table, p), store in stores.items()}
        source_partitions = [(topic, p) for topic in self.contract.names for p in partitions]
        stop = self._stop_restoring

        def take_over() -> tuple[int, Ends, Ends, Ends]:
            consumer = reader(self._connection, self.settings.app_id)
            try:
                state_ends = end_offsets(consumer, state_logs)
                count = restore(consumer, at_changelog, stop, self._observer.restoring)
                positions = committed_offsets(consumer, source_partitions)
                return count, positions, end_offsets(consumer, source_partitions), state_ends
            finally:
                consumer.close()

        count, positions, ends, state_ends = await asyncio.to_thread(take_over)
        if stop.is_set():
            return
        logger.info(
            "own partitions %s in generation %d; restored %d records in %.1f s",
            sorted(partitions),
            generation,
            count,
            time.monotonic() - began,
        )
        guarded = state_ends | {at: store.position for at, store in at_changelog.items()}
        self._begin(partitions, stores, positions, ends, guarded)

    def _begin(self, partitions: frozenset[int], stores: Any, positions: Ends, ends: Ends, guarded: Ends) -> None:
        settings = self.settings
        self._epoch += 1
        self._next_batch = 0
        self._renewed_at = self._confirmed_at = time.monotonic()
        self._began_at = {at: max(offset, 0) for at, offset in positions.items()}
        self._committed = {}
        self._guard.begin(guarded)
        self._writer.forget()
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
            positions=positions,
            ends=ends,
            coalesce_ms=settings.coalesce_ms,
            in_flight_records=settings.in_flight_records,
            learn=self._learn,
            on_refused=self._observer.refused,
        )
        self._observer.began(self.join, guarded)
        if partitions:
            self._source = Source(
                reader(self._connection, settings.app_id),
                positions,
                epoch=self._epoch,
                batch_records=settings.batch_records,
                deliver=self._batches.put,
                fail=self.fail,
            )
            self._source.start()

    async def _on_lost(self) -> None:
        self._stop_restoring.set()
        if self._starting is not None and not self._starting.done():
            await asyncio.wait([self._starting])
        join, source = self.join, self._source
        self.join = self._source = None
        self._observer.lost()
        self._epoch += 1
        if source is not None:
            await source.stop()
        if join is None or not join.messages:
            return
        try:
            # Trap: what is written after the partitions are someone else's would overwrite newer state.
            await asyncio.wait_for(join.close(), self._lease_s)
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

    async def _commit(self) -> None:
        acknowledged = dict(self._writer.acknowledged)
        new = {at: offset for at, offset in acknowledged.items() if self._committed.get(at) != offset}
        asked_at = time.monotonic()
        if not new:
            self._renewed_at = asked_at
            # Readers need the proof of membership even if there is nothing to commit.
            if self._began_at and asked_at - self._confirmed_at > self._lease_s / 4:
                known = self._began_at | self._committed
                if await self.app.commit_positions(known) is None:
                    self._confirmed_at = asked_at
            return
        problem = await self.app.commit_positions(new)
        if problem is None:
            # The coordinator has confirmed that this worker still is a member.
            self._renewed_at = time.monotonic()
            self._confirmed_at = asked_at
            self._committed.update(new)
            return
        logger.warning("positions could not be committed, trying again: %s", problem)
        if self.join is not None and time.monotonic() - self._renewed_at > self._lease_s:
            raise LeaseLostError(f"nothing could be committed for {self._lease_s:.0f} s; others may own the partitions")

    async def _learn(self, name: str, schema_id: int) -> bool:
        try:
            text = await asyncio.to_thread(self._registry.text, schema_id)
        except RegistryError as error:
            if error.refused:
                raise Refused("unknown_schema", f"schema id {schema_id} is not registered") from None
            logger.warning("waiting for the schema registry: %s", error)
            return False
        self.contract.decoders[name].learn(schema_id, text)
        return True
