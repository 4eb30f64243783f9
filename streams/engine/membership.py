"""Membership: Faust decides who owns which partitions; nothing is read or acknowledged through it.

The aiokafka consumer of Faust joins the group, keeps it informed and commits. Its partitions stay paused: reading
(source), writing (writer) and tables (stores, restore) are ours, which leaves none of the ways in which a plain
Faust program loses events.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import faust
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.assignor.partition_assignor import PartitionAssignor
from faust.tables.manager import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from openbsp.kafka.connection import KafkaSettings
from streams.engine.credentials import credentials
from streams.errors import AssignmentError, LeaseLostError, MembershipError

_NEVER_S = 100 * 365 * 24 * 60 * 60.0
_SILENCE_S = 15.0
_REBALANCE_S = 90.0

#: By topic and partition.
Positions = Mapping[tuple[str, int], int]
Notes = Mapping[tuple[str, int], str]


class Committed(NamedTuple):
    """Where a partition was left, and the note that was left with it."""

    offset: int
    note: str


class _Assignor(PartitionAssignor):
    """Faust's co-partitioned assignor without standbys."""

    def __init__(self, app: Any, replicas: int = 0) -> None:
        del replicas
        super().__init__(app, replicas=0)


class _Tables(TableManager):
    """No tables of Faust's: nothing to wait for at the start."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class _MemberThread(driver.AIOKafkaConsumerThread):
    app: "MembershipApp"
    #: Between its start and its stop, when calls of it are answered.
    running = False
    #: The group has gone on without this member: others own its partitions.
    put_out = False

    async def on_thread_started(self) -> None:
        await super().on_thread_started()
        self.running = True

    async def on_thread_stop(self) -> None:
        self.running = False
        await super().on_thread_stop()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        with self._failures_told():
            self.put_out = bool(revoked) and self._coordinator.generation == driver.DEFAULT_GENERATION_ID
            await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        with self._failures_told():
            self._ensure_consumer().pause(*(TopicPartition(tp.topic, tp.partition) for tp in assigned))
            await super().on_partitions_assigned(assigned, generation_id)

    @contextlib.contextmanager
    def _failures_told(self) -> Iterator[None]:
        # Trap: aiokafka logs what its callbacks raise, and goes on.
        try:
            yield
        except Exception as error:
            self.parent_loop.call_soon_threadsafe(self.app.on_failed, error)
            raise

    async def commit_positions(self, positions: Positions, notes: Notes) -> None:
        await self.call_thread(self._commit_positions, positions, notes)

    async def _commit_positions(self, positions: Positions, notes: Notes) -> None:
        await self._ensure_consumer().commit(
            {TopicPartition(*at): OffsetAndMetadata(offset, notes.get(at, "")) for at, offset in positions.items()}
        )

    async def committed(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Committed]:
        return await self.call_thread(self._committed, partitions)  # type: ignore[no-any-return]

    async def _committed(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Committed]:
        asked = [TopicPartition(*at) for at in partitions]
        found = await self._coordinator.fetch_committed_offsets(asked)
        return {(tp.topic, tp.partition): Committed(left.offset, left.metadata) for tp, left in found.items()}

    async def check(self) -> None:
        await self.call_thread(self._check)

    async def _check(self) -> None:
        self._coordinator.check_errors()

    @property
    def _coordinator(self) -> Any:
        return self._ensure_consumer()._coordinator  # noqa: SLF001 aiokafka tells of its membership nowhere else


class _Member(driver.Consumer):
    app: "MembershipApp"
    _thread: _MemberThread

    def _new_consumer_thread(self) -> _MemberThread:
        return _MemberThread(self, loop=self.loop, beacon=self.beacon)

    async def subscribe(self, topics: Iterable[str]) -> None:
        del topics  # the agents' channels are no topics
        await super().subscribe(self.app.sources)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self.app.assigned_at = None
        if self._thread.put_out:
            # Trap: what is written now would overwrite what the new owners have written.
            self.app.on_failed(LeaseLostError("the group has put this worker out; others own the partitions by now"))
            return
        await self.app.on_lost()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.app.assigned_at = time.monotonic()
        await super().on_partitions_assigned(assigned, generation_id)

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: FBT001, FBT002 Faust's signature
        del topics, start_new_transaction
        return False

    async def wait_empty(self) -> None:
        await self.app.on_lost()

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        # Faust's detector watches Faust's acks, of which there are none; readiness watches the real ones.
        return


class _Fetcher(Service):
    """Fetches nothing. Faust's own gives up the app when it is stopped while partitions are being rebalanced."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        del app
        super().__init__(**kwargs)


class _Transport(driver.Transport):
    Consumer = _Member
    Fetcher = _Fetcher


class MembershipApp(faust.App):
    """A Faust app that tells which partitions are owned and commits positions for them."""

    sources: frozenset[str]
    #: When the latest assignment came; None while there is none, or it has been dealt with.
    assigned_at: float | None = None
    on_failed: Callable[[BaseException], None]
    _on_owned: Callable[[frozenset[int], int], None]
    _on_lost: Callable[[], Awaitable[None]]

    @classmethod
    def create(
        cls,
        app_id: str,
        *,
        kafka: KafkaSettings,
        sources: frozenset[str],
        url: str,
        session_timeout_s: float,
        on_owned: Callable[[frozenset[int], int], None],
        on_lost: Callable[[], Awaitable[None]],
        on_failed: Callable[[BaseException], None],
    ) -> "MembershipApp":
        """Build the app; nothing is connected yet.

        `on_owned(partitions, generation)` is called when partitions are owned, `on_lost()` before they may be owned
        by others: when it returns, nothing of this worker may be written to them any more. `on_failed` is told of
        what only the end of the process can answer, such as that others own the partitions already.
        """
        app = cls(
            app_id,
            broker=[f"kafka://{server.strip()}" for server in kafka.bootstrap_servers.split(",")],
            broker_credentials=credentials(kafka),
            PartitionAssignor=_Assignor,
            TableManager=_Tables,
            web_enabled=False,
            canonical_url=url,
            topic_allow_declare=False,
            topic_disable_leader=True,
            broker_session_timeout=session_timeout_s,
            broker_heartbeat_interval=session_timeout_s / 5,
            broker_request_timeout=max(40.0, session_timeout_s * 2),
            # Trap: aiokafka leaves the group when it is not asked for records, and it never is.
            broker_max_poll_interval=_NEVER_S,
            stream_recovery_delay=0.0,
            store="memory://",
        )
        app.sources = sources
        app._on_owned = on_owned
        app._on_lost = on_lost
        app.on_failed = on_failed
        return app

    def _create_directories(self) -> None:
        """Make none: Faust's tables, which they are for, are not used."""

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)

    def on_rebalance_end(self) -> None:
        """Faust is done with a rebalance: its flow is resumed and nothing of it is dropped any more."""
        super().on_rebalance_end()
        # Trap: Faust can come to the end of a rebalance after the next one has taken the partitions away, or while the
        # app stops.
        if self.assigned_at is None or self.should_stop:
            return
        self.assigned_at = None
        try:
            partitions = self.owned()
        except AssignmentError as error:
            self.on_failed(error)
            return
        self._on_owned(partitions, self.consumer_generation_id)

    async def on_lost(self) -> None:
        """Partitions are about to be taken away."""
        await self._on_lost()

    def owned(self) -> frozenset[int]:
        """Return the partition numbers that this worker owns, of all sources alike.

        Raises AssignmentError if the sources were not assigned together.
        """
        by_topic: dict[str, set[int]] = {topic: set() for topic in self.sources}
        for tp in self.consumer.assignment():
            by_topic[tp.topic].add(tp.partition)
        numbers = {frozenset(partitions) for partitions in by_topic.values()}
        if len(numbers) != 1:
            raise AssignmentError(f"the sources are not assigned together: {by_topic}")
        return numbers.pop()

    async def commit_positions(self, positions: Positions, notes: Notes, within_s: float) -> str | None:
        """Commit positions, each with its note if it has one, as this member. Returns None when done, else why not.

        What was not done in time may still be done later.
        """
        try:
            # Trap: aiokafka tries again for ever while the coordinator cannot be reached.
            async with asyncio.timeout(within_s):
                await self.consumer._thread.commit_positions(positions, notes)  # type: ignore[attr-defined] # noqa: SLF001 the thread is ours
        except TimeoutError:
            return f"the coordinator has not answered within {within_s:.1f} s"
        except KafkaError as error:
            return f"{type(error).__name__}: {error}"
        return None

    async def committed(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Committed]:
        """Return where partitions were left, only of those that ever were. Raises MembershipError."""
        # Trap: confluent-kafka reads notes beyond their end.
        try:
            async with asyncio.timeout(_SILENCE_S):
                return await self.consumer._thread.committed(partitions)  # type: ignore[attr-defined,no-any-return] # noqa: SLF001 the thread is ours
        except (TimeoutError, KafkaError) as error:
            raise MembershipError(f"the group's positions cannot be read: {type(error).__name__}: {error}") from error

    async def check(self) -> None:
        """Raise MembershipError for what Faust and aiokafka only log, or keep until somebody asks."""
        if self.crashed:
            raise MembershipError(f"Faust has given up: {self.crash_reason!r}") from self.crash_reason
        if self.assigned_at is not None and time.monotonic() - self.assigned_at > _REBALANCE_S:
            raise MembershipError(f"an assignment was not dealt with in {_REBALANCE_S:.0f} s")
        thread: _MemberThread | None = None if self._consumer is None else self._consumer._thread  # type: ignore[attr-defined] # noqa: SLF001 the thread is ours
        if thread is None or not thread.running:
            return
        try:
            async with asyncio.timeout(_SILENCE_S):
                await thread.check()
        except TimeoutError:
            raise MembershipError(f"the membership's thread has not answered within {_SILENCE_S:.0f} s") from None
        except KafkaError as error:
            raise MembershipError(f"the group cannot be joined: {type(error).__name__}: {error}") from error

    def owners(self, topic: str) -> dict[int, str]:
        """Return the address of the worker that owns each partition of a source, as of the last rebalance."""
        urls = self.assignor._external_tps_url  # type: ignore[attr-defined] # noqa: SLF001 Faust offers it by key only, hashed wrongly
        return {tp.partition: url for tp, url in urls.items() if tp.topic == topic}
