"""A Faust app on the engine: topics, tables, agents and timers as Faust has them, and nothing of its data path.

    app = App(EngineSettings(app_id="words", ...))
    words = app.topic("words", key_type=str, value_type=str)
    counts = app.Table("counts", source="words", changelog="words-counts", join=...)

    @app.agent(words)
    async def count(stream):
        async for event in stream.events():
            counts[event.key] = ...

An event is acknowledged when the body is done with it and every record that followed from it has been acknowledged by
all in-sync replicas. An exception ends the worker; its supervisor starts it again, and the start replays.
"""

import functools
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, cast

import faust
from aiokafka.errors import KafkaError
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from streams.engine import faust_internals as internals
from streams.engine.credentials import credentials
from streams.engine.engine import Engine
from streams.engine.errors import AgentEndedError, AssignmentError, MembershipError
from streams.engine.hooks import Hooks
from streams.engine.membership import Committed, Notes, Positions
from streams.engine.outside import Outside
from streams.engine.settings import EngineSettings
from streams.engine.source import Record
from streams.engine.stream import Inbox
from streams.engine.table import OwnedTable, TablePartition, TableSpec

_NEVER_S = 100 * 365 * 24 * 60 * 60.0
_TOPICS_MS = 5_000
#: Seconds between heartbeats, or a fifth of the session time-out: it is by these that workers learn of a rebalance, and
#: until the last one has, all others wait.
_HEARTBEAT_S = 0.5
_REBALANCE_S = 90.0
_LEAVE_S = 3.0
#: Events after which other tasks run, for agents that take events one by one.
_SLICE = 250
#: Seconds between two checks of the guarded logs.
_GUARD_INTERVAL_S = 5.0

Timer = Callable[[], Coroutine[Any, Any, None]]


class BatchStream(faust.Stream[Any]):
    """What an agent iterates over: batches (`take_events`), or events one by one.

    Beyond Faust's, it gives access to the engine in the middle of a batch (`inbox`).
    """

    @property
    def inbox(self) -> Inbox:
        """This agent's end of the engine."""
        inbox: Inbox | None = self.__dict__.get("_inbox")
        if inbox is None:
            inbox = self._inbox = Inbox(cast("Any", self.channel).queue)
        return inbox

    def take_events(self, max_: int, within: float = 0.0) -> AsyncIterator[Sequence[Record]]:  # type: ignore[override] # events are the engine's
        """Yield the records read, in slices of at most `max_` events with raw keys and values.

        It never waits for more: a slice has more than one event if more have been read (`within` is Faust's).
        """
        del within
        return self.inbox.slices(max_)

    async def events(self) -> AsyncIterator[Any]:
        """Yield Faust's events one by one, decoded. Each is acknowledged after the body."""
        inbox, channel = self.inbox, cast("Any", self.channel)
        async for records in inbox.slices(_SLICE):
            for record in records:
                event = await channel.decode(_message_of(record), propagate=True)
                self.current_event = event
                with internals.current_event(event):
                    yield event
                if inbox.ending.is_set():
                    break
                inbox.done(record)

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Yield the values of events one by one. Each is acknowledged after the body."""
        async for event in self.events():
            yield event.value

    def _unsafe(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError(
            "it would acknowledge events before what follows from them; use take_events or events"
        )

    take = take_with_timestamp = noack_take = group_by = through = _unsafe


def _message_of(record: Record) -> ConsumerMessage:
    topic, partition, offset, key, value = record[:5]
    return ConsumerMessage(topic, partition, offset, 0.0, 0, {}, key, value, None, tp=TP(topic, partition))


def check_address(url: str, owned: Collection[int], owners: Mapping[int, str], setting: str = "url") -> None:
    """Raise AssignmentError if another worker advertises the same address as this one, which owns partitions.

    `owners` are the addresses of the owners. They are keyed by address, so of two with the same one is missing.
    `setting` is the operator's name of what gives a worker its address.
    """
    if any(number not in owners for number in owned):
        raise AssignmentError(
            f"another worker advertises {url} as well, so requests for this one's partitions would not "
            f"reach it; give each worker an address of its own ({setting})"
        )


class ChangelogTable(faust.Table[Any, Any]):
    """A table with a changelog. Its options are those of `TableSpec`.

    `table[key]` belongs to the partition of the event that is being processed; `of(event)` is for batches.
    """

    def __init__(self, app: "App", *, name: str, **options: Any) -> None:
        """Take Faust's options, and those of `TableSpec`."""
        spec = {name: options.pop(name) for name in TableSpec.__dataclass_fields__ if name in options}
        self.owned = OwnedTable(TableSpec(**spec))
        changelog = app.topic(app.engine_settings.topic_prefix + self.owned.spec.changelog, internal=False)
        super().__init__(app, name=name, changelog_topic=changelog, **options)

    def of(self, event: Record) -> Any:
        """Return the contents of the partition that an event belongs to."""
        return self.owned.contents[event.partition]

    def __getitem__(self, key: Any) -> Any:
        """Return the value of a key, the table's default if there is none. Raises KeyError without one."""
        stored = self._rows.get(self._key(key))
        return self.__missing__(key) if stored is None else self._loaded(stored)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Set the value of a key."""
        stored: Any = self.app.serializers.dumps_value(self.value_type, value, serializer=self.value_serializer)
        self._rows[self._key(key)] = stored

    def __delitem__(self, key: Any) -> None:
        """Remove a key."""
        del self._rows[self._key(key)]

    def __contains__(self, key: Any) -> bool:
        """Return whether a key has a value."""
        return self._key(key) in self._rows

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key, `default` if there is none."""
        stored = self._rows.get(self._key(key))
        return default if stored is None else self._loaded(stored)

    async def on_start(self) -> None:
        """See mode.Service: the stores are the engine's."""

    def _loaded(self, stored: bytes) -> Any:
        return self.app.serializers.loads_value(self.value_type, stored, serializer=self.value_serializer)

    def _key(self, key: Any) -> bytes:
        return self.app.serializers.dumps_key(self.key_type, key, serializer=self.key_serializer) or b""

    @property
    def _rows(self) -> TablePartition:
        event = faust.current_event()
        if event is None:
            raise RuntimeError("a key belongs to the event that is being processed; use `of(event)` for batches")
        return self.owned.rows[event.message.partition]


class App(faust.App):
    """A program on the engine. It is its own `Membership`, through Faust."""

    def __init__(self, settings: EngineSettings, outside: Outside | None = None, **options: Any) -> None:
        """Declare nothing and connect to nothing yet."""
        self.engine_settings = settings
        self.outside = outside or Outside()
        self.hooks = Hooks()
        #: Writes the dead letter of an event that ends workers, so that its partition continues; None: it does not.
        self.set_aside: Callable[[Record], None] | None = None
        #: What the process runs; returns its exit code. None: the program alone (`running.run`).
        self.runner: Callable[[], Coroutine[Any, Any, int]] | None = None
        #: The declared timers, with their intervals, as Faust runs them.
        self.engine_timers: list[tuple[float, Timer]] = []
        #: When the latest assignment arrived; None while there is none, or it has been processed.
        self._assigned_at: float | None = None
        self._engine: Engine | None = None
        kafka = settings.kafka
        defaults = {
            "broker": [f"kafka://{server.strip()}" for server in kafka.bootstrap_servers.split(",")],
            "broker_credentials": credentials(kafka),
            "PartitionAssignor": internals.Assignor,
            "TableManager": internals.Tables,
            "Stream": BatchStream,
            "Table": ChangelogTable,
            "Worker": "streams.engine.running:Worker",
            "web_enabled": False,
            "canonical_url": settings.url,
            "topic_allow_declare": False,
            "topic_disable_leader": True,
            "broker_session_timeout": settings.session_timeout_s,
            "broker_heartbeat_interval": min(settings.session_timeout_s / 5, _HEARTBEAT_S),
            # Trap: a restarted broker may answer that it has no topics. The group's leader then assigns no partitions,
            # until it refreshes the metadata: after five minutes, unless set.
            "consumer_metadata_max_age_ms": _TOPICS_MS,
            "broker_request_timeout": max(40.0, settings.session_timeout_s * 2),
            # Trap: aiokafka leaves the group when it is not asked for records, and it never is.
            "broker_max_poll_interval": _NEVER_S,
            "stream_recovery_delay": 0.0,
            "store": "memory://",
        }
        super().__init__(settings.app_id, **(defaults | options))
        self.timer(_GUARD_INTERVAL_S, name="guard")(self._guard)

    @property
    def owner(self) -> internals.Owner:
        """The receiver of the member's events."""
        return self

    @property
    def engine(self) -> Engine:
        """The engine, created on the running loop at first use. Raises DataDirectoryError."""
        if self._engine is None:
            self._engine = Engine(
                self.engine_settings,
                sources=self.source_topics,
                tables={name: table.owned for name, table in self.tables.items()},
                inbox=internals.inboxes(self),
                hooks=self.hooks,
                outside=self.outside,
                set_aside=self.set_aside,
            )
            self._engine.membership = self
            self.conf.consumer_group_instance_id = self._engine.instance  # type: ignore[assignment] # None by default
        return self._engine

    @property
    def source_topics(self) -> tuple[str, ...]:
        """The topics that agents read, in the order of their declaration."""
        return tuple(topic for agent in self.agents.values() for topic in agent.channel.topics)

    @property
    def sources(self) -> frozenset[str]:
        """The topics whose partitions are owned."""
        return frozenset(self.source_topics)

    def agent(self, channel: Any = None, **options: Any) -> Any:
        """Declare an agent, as Faust's; an exception in it ends the worker, and so does its return."""
        if options.get("concurrency", 1) != 1:
            raise ValueError("agents with concurrency would acknowledge out of order")
        declare = super().agent(channel, **options)

        def declared(function: Any) -> Any:
            if inspect.isasyncgenfunction(function):
                return declare(function)

            @functools.wraps(function)
            async def run(stream: Any) -> None:
                await function(stream)
                # Trap: Faust takes this for a regular end, and its topic would never be read again.
                if not self.should_stop:
                    self.on_failed(AgentEndedError(f"the agent {function.__name__} has returned"))

            return declare(run)

        return declared

    def Table(self, name: str, **options: Any) -> ChangelogTable:  # noqa: N802 Faust's name
        """Declare a table; see ChangelogTable."""
        table: ChangelogTable = super().Table(name, **options)  # type: ignore[assignment] # the setting `Table`
        return table

    def timer(  # type: ignore[override] # without what no timer here needs
        self, interval: float, *, name: str | None = None, **options: Any
    ) -> Callable[[Timer], Any]:
        """Declare a timer, as Faust's; an exception in it ends the worker."""
        label = name or "timer"
        declare = super().timer(interval, name=label, **options)

        def timed(function: Timer) -> Any:
            async def run() -> None:
                try:
                    await function()
                except Exception as error:  # noqa: BLE001 Faust would crash some time later
                    self.on_failed(error)

            run.__name__ = label
            self.engine_timers.append((interval, run))
            return declare(run)

        return timed

    async def _guard(self) -> None:
        await self.engine.look_at_logs()

    async def _on_agent_error(self, agent: Any, exc: BaseException) -> None:
        del agent
        self.on_failed(exc)

    def FlowControlQueue(self, maxsize: int | None = None, *, clear_on_resume: bool = False) -> ThrowableQueue[Any]:  # noqa: N802 Faust's name
        """Return a queue that Faust neither empties nor suspends: the engine ends batches itself."""
        del clear_on_resume
        # Trap: a stop suspends the app's flow, then waits for the current batch, whose next part would wait in `put`.
        return ThrowableQueue[Any](maxsize or 0, flow_control=FlowControlEvent(initially_suspended=False))

    def _create_directories(self) -> None:
        """Make none: Faust's tables, which they are for, are not used."""

    def _new_transport(self) -> Any:
        return internals.Transport(self.conf.broker_consumer, self)

    def on_rebalance_end(self) -> None:
        """Faust has finished a rebalance."""
        super().on_rebalance_end()
        # Trap: Faust can finish a rebalance after the next one has revoked the partitions, or while the app stops.
        if self._assigned_at is None or self.should_stop:
            return
        self._assigned_at = None
        try:
            owned = self._owned()
            settings = self.engine_settings
            check_address(settings.url, owned, self.owners(self.source_topics[0]), settings.url_setting)
            self.engine.on_owned(owned, self.consumer_generation_id, self._standbys())
        except (AssignmentError, AssertionError) as error:
            self.on_failed(error)

    def _owned(self) -> frozenset[int]:
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

    def _standbys(self) -> frozenset[int]:
        """Return the partition numbers for which this worker keeps standby copies."""
        if not self.engine_settings.standbys:
            return frozenset()  # the leader of the group may have another setting
        return frozenset(tp.partition for tp in self.assignor.assigned_standbys())

    def assigned(self) -> None:
        """See faust_internals.Owner."""
        self._assigned_at = time.monotonic()

    def revoked(self) -> None:
        """See faust_internals.Owner."""
        self._assigned_at = None

    async def on_lost(self) -> None:
        """See faust_internals.Owner."""
        await self.engine.on_lost()

    def on_failed(self, error: BaseException) -> None:
        """See faust_internals.Owner."""
        self.engine.fail(error)

    async def commit_positions(self, positions: Positions, notes: Notes, within_s: float) -> str | None:
        """See Membership."""
        return await _hindrance(internals.commit_positions(self, positions, notes, within_s), within_s)

    async def ask_coordinator(self, within_s: float) -> str | None:
        """See Membership."""
        return await _hindrance(internals.ask_coordinator(self, within_s), within_s)

    async def leave(self) -> None:
        """Leave the group, so that it assigns the partitions again. Raises TimeoutError, or KafkaError."""
        await internals.leave(self, _LEAVE_S)

    async def committed(self, partitions: Any) -> dict[tuple[str, int], Committed]:
        """See Membership."""
        return await internals.committed(self, partitions)

    async def check(self) -> None:
        """See Membership."""
        if self._assigned_at is not None and time.monotonic() - self._assigned_at > _REBALANCE_S:
            raise MembershipError(f"an assignment was not dealt with in {_REBALANCE_S:.0f} s")
        await internals.check(self)

    def owners(self, topic: str) -> dict[int, str]:
        """See Membership."""
        return internals.owners(self, topic)


async def _hindrance(asking: Awaitable[None], within_s: float) -> str | None:
    """Return why the coordinator has not answered, or has refused; None if it has done what it was asked."""
    try:
        await asking
    except TimeoutError:
        return f"the coordinator has not answered within {within_s:.1f} s"
    except KafkaError as error:
        return f"{type(error).__name__}: {error}"
    return None
