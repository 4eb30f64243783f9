"""What touches private names of Faust and aiokafka, but for three methods of Faust's app that `app.App` overrides.

The aiokafka consumer of Faust joins the group, sends heartbeats and commits. Its partitions stay paused: reading
(source), writing (writer) and tables (stores, takeover) are the engine's, which avoids every way in which a plain Faust
program loses events. `NAMES` lists the names used, those of `app.App` among them; test_faust_internals.py fails with a
sentence for each that a new Faust lacks.
"""

import asyncio
import contextlib
import functools
import weakref
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, ParamSpec, Protocol, TypeVar

import aiokafka.client
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError, UnknownTopicOrPartitionError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import OffsetAndMetadata
from faust.assignor.partition_assignor import PartitionAssignor
from faust.streams import _current_event
from faust.tables.manager import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from openbsp.backoff import Backoff
from streams.engine.errors import LeaseLostError, MembershipError
from streams.engine.membership import Committed, Notes, Positions

# Trap: aiokafka lets the broker create each missing topic that it asks for, and has no setting for it.
aiokafka.client.MetadataRequest = functools.partial(MetadataRequest, allow_auto_topic_creation=False)

P = ParamSpec("P")
T = TypeVar("T")

_SILENCE_S = 15.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0

#: The names used, and for what: (module, class or None, name, purpose). Attributes are those of the class's instances.
NAMES = (
    ("faust.transport.drivers.aiokafka", None, "AIOKafkaConsumerThread", "the member's thread"),
    ("faust.transport.drivers.aiokafka", None, "DEFAULT_GENERATION_ID", "knowing that the group has removed a member"),
    ("faust.transport.drivers.aiokafka", "AIOKafkaConsumerThread", "_ensure_consumer", "reaching aiokafka's consumer"),
    ("faust.transport.drivers.aiokafka", "AIOKafkaConsumerThread", "call_thread", "calling in the member's thread"),
    ("faust.transport.drivers.aiokafka", "AIOKafkaConsumerThread", "_consumer", "knowing that there is one"),
    ("faust.transport.drivers.aiokafka", "AIOKafkaConsumerThread", "on_thread_started", "when calls are answered"),
    ("faust.transport.drivers.aiokafka", "AIOKafkaConsumerThread", "on_thread_stop", "leaving in the end"),
    ("faust.transport.drivers.aiokafka", "AIOKafkaConsumerThread", "on_partitions_revoked", "losing partitions"),
    ("faust.transport.drivers.aiokafka", "AIOKafkaConsumerThread", "on_partitions_assigned", "owning partitions"),
    ("faust.transport.drivers.aiokafka", "Consumer", "_new_consumer_thread", "putting that thread in"),
    ("faust.transport.drivers.aiokafka", "Consumer", "_commit_livelock_detector", "switching it off"),
    ("faust.transport.drivers.aiokafka", "Consumer", "wait_empty", "writing everything before partitions are given up"),
    ("faust.transport.drivers.aiokafka", "Transport", "Fetcher", "fetching nothing through Faust"),
    ("faust.transport.consumer", "ThreadDelegateConsumer", "_thread", "reaching the member's thread"),
    ("faust.app.base", "App", "_consumer", "reaching the member's thread"),
    ("faust.app.base", "App", "_new_transport", "putting the transport in"),
    ("faust.app.base", "App", "_on_agent_error", "ending the worker when an agent raises"),
    ("faust.app.base", "App", "_create_directories", "making no directories for Faust's own stores"),
    ("faust.app.base", "App", "on_rebalance_end", "hearing that Faust is done with a rebalance"),
    ("faust.app.base", "App", "FlowControlQueue", "queues that Faust never empties or suspends"),
    ("faust.tables.manager", "TableManager", "_update_channels", "reading no changelogs through Faust"),
    ("faust.tables.manager", "TableManager", "recovery", "restoring nothing through Faust"),
    ("faust.tables.manager", "TableManager", "_recovery", "restoring nothing through Faust"),
    ("faust.tables.manager", "TableManager", "_tables_finalized", "letting nothing wait for Faust's tables"),
    ("faust.tables.manager", "TableManager", "_tables_registered", "letting nothing wait for Faust's tables"),
    ("faust.tables.manager", "TableManager", "_recovery_started", "letting no table be added any more"),
    ("faust.tables.recovery", "Recovery", "_restart_recovery", "going on at once after a rebalance"),
    ("faust.tables.recovery", None, "RebalanceAgain", "a rebalance in the middle of resuming"),
    ("faust.tables.recovery", None, "ServiceStopped", "a stop in the middle of resuming"),
    ("faust.tables.recovery", "Recovery", "signal_recovery_start", "hearing of a rebalance"),
    ("faust.tables.recovery", "Recovery", "_resume_streams", "resuming Faust's flow after a rebalance"),
    ("faust.tables.recovery", "Recovery", "_generation_id", "knowing which rebalance is resumed"),
    ("faust.assignor.partition_assignor", "PartitionAssignor", "_assign", "the co-partitioned assignment"),
    ("faust.assignor.partition_assignor", "PartitionAssignor", "_external_tps_url", "who owns a partition"),
    ("faust.assignor.partition_assignor", "PartitionAssignor", "assigned_standbys", "which copies a worker keeps"),
    (
        "faust.assignor.copartitioned_assignor",
        "CopartitionedAssignor",
        "_find_promotable_standby",
        "giving a partition to a worker that has a copy of it",
    ),
    ("faust.streams", None, "_current_event", "telling a table which event a change belongs to"),
    ("aiokafka.consumer.consumer", None, "Fetcher", "what it has as `_fetcher`"),
    ("aiokafka.consumer.consumer", "AIOKafkaConsumer", "_fetcher", "asking for no topics"),
    ("aiokafka.consumer.consumer", "AIOKafkaConsumer", "_coordinator", "all that is about the group"),
    ("aiokafka.consumer.fetcher", "Fetcher", "close", "asking for no topics"),
    ("aiokafka.consumer.group_coordinator", "GroupCoordinator", "_group_instance_id", "giving up a member's name"),
    ("aiokafka.consumer.group_coordinator", "GroupCoordinator", "generation", "whether the group has removed it"),
    ("aiokafka.consumer.group_coordinator", "GroupCoordinator", "check_errors", "errors that aiokafka keeps"),
    ("aiokafka.consumer.group_coordinator", "GroupCoordinator", "ensure_coordinator_known", "committing"),
    ("aiokafka.consumer.group_coordinator", "GroupCoordinator", "_do_commit_offsets", "committing once"),
    ("aiokafka.consumer.group_coordinator", "GroupCoordinator", "fetch_committed_offsets", "positions with notes"),
    ("aiokafka.consumer.group_coordinator", "GroupCoordinator", "_maybe_leave_group", "leaving in the end"),
)


class Owner(Protocol):
    """Receives the member's events. On the event loop, but for `fail`, which may be called from the member's thread."""

    @property
    def sources(self) -> frozenset[str]:
        """The topics whose partitions are owned."""

    def assigned(self) -> None:
        """Handle that partitions are being assigned; Faust has not processed it yet."""

    def revoked(self) -> None:
        """Handle that an assignment is over, or will not be processed any more."""

    async def on_lost(self) -> None:
        """Handle that partitions are about to be revoked."""

    def on_failed(self, error: BaseException) -> None:
        """Handle that the worker cannot go on."""


class Assignor(PartitionAssignor):
    """Faust's co-partitioned assignor, with as many standbys as in the engine's settings."""

    def __init__(self, app: Any, replicas: int = 0) -> None:
        # Trap: where Faust's own setting of them is 0 it uses another assignor, which does not report owners.
        del replicas
        super().__init__(app, replicas=app.engine_settings.standbys)


class _Recovery(Recovery):
    """Restores nothing: the engine takes over when Faust has finished a rebalance."""

    @Service.task
    async def _restart_recovery(self) -> None:
        while not self.should_stop:
            stopped = await self.wait_for_stopped(self.signal_recovery_start)  # type: ignore[arg-type] # as Faust does
            self.signal_recovery_start.clear()
            if stopped:
                break
            try:
                await self._resume_streams(generation_id=self._generation_id)
            except (RebalanceAgain, IllegalStateError):
                continue  # the next rebalance has begun
            except ServiceStopped:
                break


class Tables(TableManager):
    """Tables whose changelogs Faust neither assigns nor reads."""

    async def on_start(self) -> None:
        """Wait for nothing."""
        await self._update_channels()
        await self.recovery.start()

    @property
    def changelog_topics(self) -> set[str]:
        """None, for the assignor."""
        return set()

    @property
    def recovery(self) -> Recovery:
        """What runs after a rebalance."""
        if self._recovery is None:
            self._recovery = _Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def _update_channels(self) -> None:
        self._tables_finalized.set()
        self._tables_registered.set()

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Go on at once."""
        self._recovery_started.set()
        await self.recovery.on_rebalance(assigned, revoked, newly_assigned, generation_id)


class _MemberThread(driver.AIOKafkaConsumerThread):
    app: Any
    #: Between its start and its stop, when calls of it are answered.
    running = False
    #: The group has continued without this member: others own its partitions.
    put_out = False

    async def on_thread_started(self) -> None:
        await super().on_thread_started()
        # Trap: while a partition has no leader, aiokafka's fetcher asks for the topics all the time, without a pause.
        await self._ensure_consumer()._fetcher.close()  # noqa: SLF001 aiokafka has no other way
        self.running = True

    async def on_thread_stop(self) -> None:
        self.running = False
        self._give_up_name()
        await super().on_thread_stop()

    def _give_up_name(self) -> None:
        """Leave the group at the end, and do not join it again under the same static member name.

        Trap: aiokafka does not leave a group in which it has a name, and others would wait for the session to end. And
        a fenced member joins again at once, which would fence the present holder of the name.
        """
        if self._consumer is not None and self._coordinator is not None:
            self._coordinator._group_instance_id = None  # noqa: SLF001 aiokafka has no other way

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        with self._failures_reported():
            self.put_out = bool(revoked) and self._coordinator.generation == driver.DEFAULT_GENERATION_ID
            if self.put_out:
                self._give_up_name()
            await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        with self._failures_reported():
            self._ensure_consumer().pause(*(TopicPartition(tp.topic, tp.partition) for tp in assigned))
            await super().on_partitions_assigned(assigned, generation_id)

    @contextlib.contextmanager
    def _failures_reported(self) -> Iterator[None]:
        # Trap: aiokafka logs exceptions of its callbacks, and goes on.
        try:
            yield
        except Exception as error:
            self.parent_loop.call_soon_threadsafe(self.app.owner.on_failed, error)
            raise

    async def ask(self, within_s: float, method: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `method` returns in the member's thread. Raises TimeoutError."""

        # Trap: a call that nobody waits for any more goes on in the thread, and two of them keep all others waiting.
        async def bounded() -> T:
            async with asyncio.timeout(within_s):
                return await method(*args, **kwargs)

        async with asyncio.timeout(within_s):
            return await self.call_thread(bounded)  # type: ignore[no-any-return]

    async def ask_coordinator(self) -> None:
        # Trap: aiokafka sends no commit of nothing, and a heartbeat in the middle of a rebalance can undo it.
        await self.committed([(min(self.app.owner.sources), 0)])

    async def commit_positions(self, positions: Positions, notes: Notes) -> None:
        offsets = {
            TopicPartition(*at): OffsetAndMetadata(offset, notes.get(at, "")) for at, offset in positions.items()
        }
        if foreign := offsets.keys() - self._ensure_consumer().assignment():
            raise IllegalStateError(f"not assigned: {sorted(foreign)}")
        # Trap: aiokafka's own `commit` repeats what no repetition helps (a topic that is missing), ten times a second.
        backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        while True:
            await self._coordinator.ensure_coordinator_known()
            try:
                await self._coordinator._do_commit_offsets(None, offsets)  # noqa: SLF001 aiokafka has no other way
            except UnknownTopicOrPartitionError:
                raise
            except KafkaError as error:
                if not error.retriable:
                    raise
            else:
                return
            await backoff.wait()

    async def committed(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Committed]:
        asked = [TopicPartition(*at) for at in partitions]
        found = await self._coordinator.fetch_committed_offsets(asked)
        return {(tp.topic, tp.partition): Committed(left.offset, left.metadata) for tp, left in found.items()}

    async def leave(self) -> None:
        self._give_up_name()
        await self._coordinator._maybe_leave_group()  # noqa: SLF001 aiokafka has no other way

    async def check(self) -> None:
        self._coordinator.check_errors()

    @property
    def _coordinator(self) -> Any:
        return self._ensure_consumer()._coordinator  # noqa: SLF001 aiokafka tells of its membership nowhere else


class _Member(driver.Consumer):
    app: Any
    _thread: _MemberThread

    def _new_consumer_thread(self) -> _MemberThread:
        return _MemberThread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self.app.owner.revoked()
        if self._thread.put_out:
            # Trap: writes from here on would overwrite those of the new owners.
            self.app.owner.on_failed(
                LeaseLostError("fenced: the group has removed this worker, and other workers own its partitions by now")
            )
            return
        await self.app.owner.on_lost()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.app.owner.assigned()
        await super().on_partitions_assigned(assigned, generation_id)

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: FBT001, FBT002 Faust's signature
        del topics, start_new_transaction
        return False

    async def wait_empty(self) -> None:
        await self.app.owner.on_lost()

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        # Faust's detector watches Faust's acks, of which there are none; readiness watches the real ones.
        return


class _Fetcher(Service):
    """Fetches nothing. Faust's own ends the app when it is stopped while partitions are being rebalanced."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        del app
        super().__init__(**kwargs)


class Transport(driver.Transport):
    """Joins the group, and fetches nothing."""

    Consumer = _Member
    Fetcher = _Fetcher


def thread_of(app: Any) -> Any:
    """Return the member's thread, None before there is one."""
    return None if app._consumer is None else app._consumer._thread  # noqa: SLF001 the thread is ours


async def commit_positions(app: Any, positions: Positions, notes: Notes, within_s: float) -> None:
    """Commit as this member. Raises KafkaError, TimeoutError."""
    thread = thread_of(app)
    await thread.ask(within_s, thread.commit_positions, positions, notes)


async def ask_coordinator(app: Any, within_s: float) -> None:
    """Return when the coordinator has answered a question. Raises KafkaError, TimeoutError."""
    thread = thread_of(app)
    await thread.ask(within_s, thread.ask_coordinator)


async def committed(app: Any, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Committed]:
    """Return the committed positions. Raises MembershipError."""
    # Trap: confluent-kafka reads notes beyond their end.
    thread = thread_of(app)
    try:
        return await thread.ask(_SILENCE_S, thread.committed, partitions)  # type: ignore[no-any-return]
    except (TimeoutError, KafkaError) as error:
        raise MembershipError(f"the group's positions cannot be read: {type(error).__name__}: {error}") from error


async def leave(app: Any, within_s: float) -> None:
    """Leave the group, and do not come back under the same static member name. Raises KafkaError, TimeoutError."""
    thread = thread_of(app)
    await thread.ask(within_s, thread.leave)


async def check(app: Any) -> None:
    """Raise MembershipError for errors that Faust and aiokafka only log, or keep until asked."""
    if app.crashed:
        raise MembershipError(f"Faust has given up: {app.crash_reason!r}") from app.crash_reason
    thread: _MemberThread | None = thread_of(app)
    if thread is None or not thread.running:
        return
    try:
        await thread.ask(_SILENCE_S, thread.check)
    except TimeoutError:
        raise MembershipError(f"the membership's thread has not answered within {_SILENCE_S:.0f} s") from None
    except KafkaError as error:
        raise MembershipError(f"the group cannot be joined: {type(error).__name__}: {error}") from error


def owners(app: Any, topic: str) -> dict[int, str]:
    """Return the address of the worker that owns each partition of a source, as of the last rebalance."""
    urls = app.assignor._external_tps_url  # noqa: SLF001 Faust offers it by key only, hashed wrongly
    return {tp.partition: url for tp, url in urls.items() if tp.topic == topic}


@contextlib.contextmanager
def current_event(event: Any) -> Iterator[None]:
    """Make Faust treat an event as the current one."""
    token = _current_event.set(weakref.ref(event))
    try:
        yield
    finally:
        _current_event.reset(token)


def inboxes(app: Any) -> Callable[[str], Any]:
    """Return a function from topic to its agent's queue. Raises AssertionError if none or several agents read it."""
    found: dict[str, Any] = {}

    def inbox(topic: str) -> Any:
        if topic not in found:
            channels = [channel for channel in app.topics if topic in channel.topics]
            if len(channels) != 1:
                raise AssertionError(f"{len(channels)} agents read {topic}; it has to be one")
            found[topic] = channels[0].queue
        return found[topic]

    return inbox
