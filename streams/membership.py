"""Membership: Faust decides who owns which partitions; nothing is read or acknowledged through it.

The aiokafka consumer of Faust joins the group, keeps it informed and commits. Its partitions stay paused: reading
(source), writing (writer) and tables (stores, restore) are ours, which leaves none of the ways in which a plain
Faust program loses events.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import faust
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.assignor.partition_assignor import PartitionAssignor
from faust.tables.manager import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from streams.errors import AssignmentError

_DAY_S = 24 * 60 * 60.0


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
    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._ensure_consumer().pause(*(TopicPartition(tp.topic, tp.partition) for tp in assigned))
        await super().on_partitions_assigned(assigned, generation_id)

    async def commit_positions(self, positions: Mapping[tuple[str, int], int]) -> None:
        await self.call_thread(self._commit_positions, positions)

    async def _commit_positions(self, positions: Mapping[tuple[str, int], int]) -> None:
        await self._ensure_consumer().commit(
            {TopicPartition(*at): OffsetAndMetadata(offset, "") for at, offset in positions.items()}
        )


class _Member(driver.Consumer):
    app: "MembershipApp"
    _thread: _MemberThread

    def _new_consumer_thread(self) -> _MemberThread:
        return _MemberThread(self, loop=self.loop, beacon=self.beacon)

    async def subscribe(self, topics: Iterable[str]) -> None:
        del topics  # the agents' channels are no topics
        await super().subscribe(self.app.sources)

    async def _drain_messages(self, fetcher: Any) -> None:
        await fetcher.wait_for_stopped(asyncio.Event())

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.app.on_lost()
        await super().on_partitions_revoked(revoked)

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: FBT001, FBT002 Faust's signature
        del topics, start_new_transaction
        return False

    async def wait_empty(self) -> None:
        await self.app.on_lost()

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        # Faust's detector watches Faust's acks, of which there are none; readiness watches the real ones.
        return


class _Transport(driver.Transport):
    Consumer = _Member


class MembershipApp(faust.App):
    """A Faust app that tells which partitions are owned and commits positions for them."""

    sources: frozenset[str]
    _on_owned: Callable[[frozenset[int], int], Awaitable[None]]
    _on_lost: Callable[[], Awaitable[None]]

    @classmethod
    def create(
        cls,
        app_id: str,
        *,
        brokers: str,
        sources: frozenset[str],
        url: str,
        session_timeout_s: float,
        on_owned: Callable[[frozenset[int], int], Awaitable[None]],
        on_lost: Callable[[], Awaitable[None]],
    ) -> "MembershipApp":
        """Build the app; nothing is connected yet.

        `on_owned(partitions, generation)` is called when partitions are owned, `on_lost()` before they may be owned
        by others: when it returns, nothing of this worker may be written to them any more.
        """
        app = cls(
            app_id,
            broker=[f"kafka://{server.strip()}" for server in brokers.split(",")],
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
            broker_max_poll_interval=_DAY_S,
            stream_recovery_delay=0.0,
            store="memory://",
        )
        app.sources = sources
        app._on_owned = on_owned
        app._on_lost = on_lost
        return app

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)

    def on_rebalance_end(self) -> None:
        """Faust is done with a rebalance: its flow is resumed and nothing of it is dropped any more."""
        super().on_rebalance_end()
        partitions = self.owned()
        self.add_future(self._on_owned(partitions, self.consumer_generation_id))

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

    async def commit_positions(self, positions: Mapping[tuple[str, int], int]) -> str | None:
        """Commit positions as this member. Returns None when done, else why it could not be."""
        try:
            await self.consumer._thread.commit_positions(positions)  # type: ignore[attr-defined] # noqa: SLF001 the thread is ours
        except (CommitFailedError, KafkaError) as error:
            return f"{type(error).__name__}: {error}"
        return None

    def owners(self, topic: str) -> dict[int, str]:
        """Return the address of the worker that owns each partition of a source, as of the last rebalance."""
        urls = self.assignor._external_tps_url  # type: ignore[attr-defined] # noqa: SLF001 Faust offers it by key only, hashed wrongly
        return {tp.partition: url for tp, url in urls.items() if tp.topic == topic}
