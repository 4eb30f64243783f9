"""The program under simulation, and every name of it that the simulation uses: a rename ends here."""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import fields, replace
from typing import Any
from unittest.mock import patch

from confluent_kafka import KafkaException
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from avro import catalogue, codec, compiled, instants
from avro.schemas import Schema
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.merge import contact as people
from simulation.loop import KilledError, current_process
from simulation.plan import IDLE_BEFORE, IDLE_NOW
from simulation.poison import CRASHES, RAISES
from streams import app as program
from streams.agents import removal
from streams.agents.eviction import Eviction
from streams.agents.intake import Intake
from streams.contract import SOURCES
from streams.engine import engine, errors, guard, poison, repair, source, standby, table, takeover, writer
from streams.engine import restore as restoring
from streams.engine.end_offsets import Ends
from streams.engine.errors import FrozenError, LeaseLostError, MembershipError
from streams.engine.hooks import Hooks
from streams.engine.lag import Lag
from streams.engine.membership import Committed
from streams.engine.outside import Outside
from streams.engine.settings import EngineSettings
from streams.engine.stores import split_key
from streams.engine.stores.memory import GroupedMemoryStore, MemoryStore
from streams.metrics import Metrics
from streams.settings import StoreKind, StreamsSettings, engine_settings
from streams.state import contribution as contributions
from streams.state import conversation as tallies
from streams.state import status as statuses
from streams.tables import contacts, conversations, links, messages
from streams.tables.owned import ADDRESSES, CONTACTS, CONVERSATIONS, MESSAGES
from streams.views.problems import ProblemError
from streams.views.read import partition as views
from streams.views.read import render
from streams.views.read.tables import Tables
from support import words
from support.join import IDS, Stream
from support.join_cases import at

__all__ = [
    "CHANGELOGS",
    "COMPACTED",
    "FORGIVEN",
    "IDS",
    "PREFIX",
    "SOURCES",
    "TOPICS",
    "Committed",
    "FrozenError",
    "GroupedMemoryStore",
    "Intake",
    "JoinProgram",
    "LeaseLostError",
    "MembershipError",
    "MemoryStore",
    "Outside",
    "Program",
    "Tables",
    "WordsProgram",
    "contacts",
    "contributions",
    "conversations",
    "engine",
    "guard",
    "is_grouped",
    "links",
    "messages",
    "people",
    "poison",
    "removal",
    "render",
    "repair",
    "restoring",
    "source",
    "split_key",
    "standby",
    "statuses",
    "table",
    "takeover",
    "tallies",
    "views",
    "writer",
]

PREFIX = "s."

#: Catalogue names of all topics, and of those that may be compacted at once: changelogs may be after an hour.
TOPICS = tuple(catalogue.TOPICS)
COMPACTED = tuple(
    name
    for name, topic in catalogue.TOPICS.items()
    if topic.cleanup_policy == "compact" and "min.compaction.lag.ms" not in topic.settings
)

CHANGELOGS = (MESSAGES, CONVERSATIONS, CONTACTS, ADDRESSES)


class DeadlyError(Exception):
    """An event has ended this worker."""


#: What may end a worker; anything else is a fault of the program.
FORGIVEN = (errors.StreamsError, KafkaException, TimeoutError, DeadlyError)

#: The simulated session is a tenth of the real one, and so are the times between two looks.
_PACE = 0.1
engine._TICK_S = 0.005
engine._IDLE_TICK_S = 0.05
engine._ABSOLVE_S = 0.1
repair._WAIT_S = 0.05
standby.EVERY_S = 0.1

_KAFKA = KafkaSettings()
_REGISTRY = RegistrySettings()


@functools.cache
def _settings(partitions: int, *, idle: bool) -> tuple[StreamsSettings, TopicSettings]:
    idle_after_s = float(IDLE_NOW - IDLE_BEFORE) if idle else None
    return (
        StreamsSettings(store=StoreKind.MEMORY, tokens=SecretStr("t=token-of-the-tests"), idle_after_s=idle_after_s),
        TopicSettings(prefix=PREFIX, partitions=partitions, replication_factor=1, min_insync_replicas=1),
    )


# Compiling a codec takes longer than most of what a history does, and it is the same each time.
codec.encoder = functools.cache(codec.encoder)
Schema.parsed_raw = functools.cache(Schema.parsed_raw)
_readers: dict[int, Any] = {}
_compile_reader = compiled.reader


def _reader(schema: Any) -> Any:
    known = _readers.get(id(schema))  # the cache above keeps it
    if known is None:
        known = _readers[id(schema)] = _compile_reader(schema)
    return known


compiled.reader = _reader


def is_grouped(name: str) -> bool:
    """Return whether the keys of a table are read by group."""
    return name == CONVERSATIONS


class Program:
    """One process of a program: made inside of it, on the simulated loop."""

    def __init__(self, app: Any, member: Any, open_store: Any) -> None:
        self._app, self._member = app, member
        self._engine = app.engine
        self._engine.membership = member
        if open_store is not None:
            self._engine._stores._new = open_store
        self.failure = self._engine.failure
        self.prepare_end = self._engine.prepare_end
        self._tasks: list[asyncio.Task[Any]] = []

    def agents(self) -> Iterable[Coroutine[Any, Any, Any]]:
        """Return what the agents do."""
        raise NotImplementedError

    def release(self) -> None:
        """Give back what can be used again, once nothing of this process runs any more."""

    def start(self) -> None:
        """Begin to work."""
        timers = (self._regularly(interval_s, timer) for interval_s, timer in self._app.engine_timers)
        for coroutine in (*self.agents(), self._engine.run(), *timers):
            task = asyncio.create_task(coroutine)
            task.add_done_callback(self._ended)
            self._tasks.append(task)
        self._member.start(self)

    def read(self, entity: str, key: str) -> tuple[int, bytes | None] | None:
        """Return the partition of a row, and its state, as its owner's views answer; None if they do not."""
        del entity, key

    def has(self, partition: int) -> bool:
        """Return whether a partition is given to this worker, and not taken away."""
        work = self._engine.assignment
        return work is not None and partition in work.partitions

    def on_began(self, listener: Callable[[Iterable[int]], None]) -> None:
        """Call a function with the partitions of each assignment as it begins."""
        self._engine.hooks.began.add(lambda work, _: listener(work.partitions))

    def on_owned(self, partitions: frozenset[int], generation: int, standbys: frozenset[int]) -> None:
        """Hear what is owned, and of what copies are to be kept."""
        self._engine.on_owned(partitions, generation, standbys)

    async def on_lost(self) -> None:
        """Give everything up."""
        await self._engine.on_lost()

    def fail(self, error: BaseException) -> None:
        """Hear of what only the end of the process can answer."""
        self._engine.fail(error)

    async def stop(self) -> None:
        """End in order."""
        await self._member.stop()
        for task in self._tasks:
            task.cancel()
        await self._engine.close()

    async def _regularly(self, interval_s: float, timer: Callable[[], Any]) -> None:
        while True:
            await asyncio.sleep(interval_s * _PACE)
            await timer()

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        if not task.cancelled() and task.exception() is not None:
            error = task.exception()
            self.fail(error.exceptions[0] if isinstance(error, ExceptionGroup) else error)  # type: ignore[arg-type]


#: Programs whose worker has ended, without and with eviction: declaring one takes longer than a history, and it has no
#: state but its engine.
_declared: tuple[list[program.JoinApp], list[program.JoinApp]] = [], []


def _deadly(read: Callable[[bytes | None], str]) -> Callable[[bytes | None], str]:
    """Return what reads the key of each event, with what happens to workers that read some."""

    def text(key: bytes | None) -> str:
        told = read(key)
        if told == RAISES:
            raise DeadlyError
        process = current_process()
        if told == CRASHES and process is not None:
            process.kill()
            raise KilledError(process.name)
        return told

    return text


#: Nobody reads them.
_metrics = Metrics(CollectorRegistry())
_evicting = functools.partial(Eviction, now=lambda: instants.parse(at(IDLE_NOW)) or 0)


def _declare(own: StreamsSettings, topics: TopicSettings) -> program.JoinApp:
    app = program.create_app(own, _KAFKA, _REGISTRY, topics)
    app.intake.text = _deadly(app.intake.text)  # type: ignore[method-assign] # what it is without reads all others
    return app


class JoinProgram(Program):
    """The join."""

    def __init__(
        self, outside: Outside, member: Any, partitions: int, registry: Any, open_store: Any, **settings: Any
    ) -> None:
        idle = settings.pop("idle")
        engine = {name: settings.pop(name) for name in ("turn_s", "late_records")}
        own, topics = _settings(partitions, idle=idle)
        own = own.model_copy(update=settings)
        self._declared = _declared[idle]
        # Making the real registry's client takes as long, too.
        with patch.object(program, "Registry", lambda *_: registry), patch.object(program, "Eviction", _evicting):
            app = self._declared.pop() if self._declared else _declare(own, topics)
        app.outside, app.registry = outside, registry
        app.engine_settings = replace(engine_settings(own, _KAFKA, topics), **engine)
        app.contract.__init__(PREFIX, registry.known)  # type: ignore[misc] # it knows no other schema
        super().__init__(app, member, open_store)
        self._queues: dict[str, asyncio.Queue[Any]] = {topic: asyncio.Queue() for topic in app.source_topics}
        self._engine._inbox = self._queues.__getitem__
        self._listeners = {one.name: getattr(app.hooks, one.name)._listeners for one in fields(Hooks)}
        self._views = Tables(partitions, PREFIX, _metrics, Lag(Ends(outside, {}), 60.0, outside.clock))
        self._views.listen(app.hooks)
        self._views.attach(self._engine)

    def read(self, entity: str, key: str) -> tuple[int, bytes | None] | None:
        """See Program."""
        try:
            view = self._views.view_of(key)
            if view is None:
                return None
            found = view.message(key) if entity == "messages" else view.conversation(key)
        except ProblemError:
            return None
        return view.number, None if found is None else found.body

    def agents(self) -> Iterable[Coroutine[Any, Any, Any]]:
        """See Program."""
        agents = self._app.agents.values()
        return [agent.fun(Stream(self._queues[topic])) for agent in agents for topic in agent.channel.topics]

    def release(self) -> None:
        """See Program."""
        self._app._engine = None
        for name, listeners in self._listeners.items():
            getattr(self._app.hooks, name)._listeners = listeners
        for one in self._app.tables.values():
            one.owned.contents, one.owned.rows = {}, {}
        self._declared.append(self._app)


class WordsProgram(Program):
    """The second program: words are counted, in Faust's own streams."""

    def __init__(
        self, outside: Outside, member: Any, partitions: int, registry: Any, open_store: Any, **settings: Any
    ) -> None:
        del registry, settings["idle"]
        app = words.create_app(
            EngineSettings(
                app_id="words",
                kafka=_KAFKA,
                url="http://127.0.0.1:1",
                partitions=partitions,
                topic_prefix=PREFIX,
                **settings,
            ),
            outside,
        )
        super().__init__(app, member, open_store)

    def agents(self) -> Iterable[Coroutine[Any, Any, Any]]:
        """See Program."""
        return [agent.fun(agent.stream()) for agent in self._app.agents.values()]
