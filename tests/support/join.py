"""The shipped program without Faust and Kafka: its agents and tables, on stores and a writer that a test has made."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from streams.app import JoinApp, create_app
from streams.engine.assignment import Assignment
from streams.engine.engine import own_tables, process
from streams.engine.hooks import Hooks
from streams.engine.outside import Clock
from streams.engine.source import Record
from streams.engine.stores import Store
from streams.engine.stores.memory import GroupedMemoryStore, MemoryStore
from streams.engine.stream import Inbox
from streams.settings import StreamsSettings
from streams.tables.owned import ADDRESSES, CONTACTS, CONVERSATIONS, MESSAGES, Owned
from support.fake_kafka import IDS


class Stream:
    """What an agent iterates over, without Faust."""

    def __init__(self, queue: Any) -> None:
        self.inbox = Inbox(queue)

    def take_events(self, max_: int, within: float = 0.0) -> AsyncIterator[Sequence[Record]]:
        del within
        return self.inbox.slices(max_)


def program(prefix: str = "openbsp.", **settings: Any) -> JoinApp:
    """Return the program, with schema ids that no registry has given."""
    app = create_app(
        StreamsSettings(tokens="tests=token-of-the-tests", advertised_url="http://127.0.0.1:1", **settings),
        KafkaSettings(bootstrap_servers="127.0.0.1:1"),
        RegistrySettings(url="http://127.0.0.1:1"),
        TopicSettings(prefix=prefix),
    )
    app.contract.use(IDS)
    return app


def empty_stores(partitions: Iterable[int]) -> dict[tuple[str, int], Store]:
    """Return stores in memory, as the engine keys them."""
    stores: dict[tuple[str, int], Store] = {}
    for number in partitions:
        stores[MESSAGES, number] = MemoryStore()
        stores[CONVERSATIONS, number] = GroupedMemoryStore()
        stores[CONTACTS, number] = MemoryStore()
        stores[ADDRESSES, number] = MemoryStore()
    return stores


class Join:
    """One assignment of the program. Its agents run while `process` does, so make it on a running event loop."""

    def __init__(
        self,
        app: JoinApp,
        writer: Any,
        stores: Mapping[tuple[str, int], Store],
        *,
        positions: Mapping[tuple[str, int], int] | None = None,
        ends: Mapping[tuple[str, int], int] | None = None,
        coalesce_ms: int = 60_000,
        in_flight_records: int = 1_000_000,
        hooks: Hooks | None = None,
    ) -> None:
        self.app = app
        self.refused = 0
        app.intake.refused.add(self._count_refused)
        app._engine = SimpleNamespace(writer=writer, fail=self._fail)
        self._hooks = hooks or app.hooks
        self._errors: list[BaseException] = []
        partitions = {number for _, number in stores}
        self.work = Assignment(
            writer,
            Clock(),
            sources=app.source_topics,
            partitions=partitions,
            positions=positions or {},
            ends=ends or {},
            coalesce_ms=coalesce_ms,
            in_flight_records=in_flight_records,
            in_flight_s=60.0,
            flushed=self._hooks.flushed,
        )
        tables = {name: table.owned for name, table in app.tables.items()}
        own_tables(self.work, tables, stores, app.contract.topic, writer)
        self.owned = Owned(self.work)
        self.messages, self.conversations = self.owned.messages, self.owned.conversations
        self.position, self.caught_up = self.work.position, self.work.caught_up
        self.flush, self.close = self.work.flush, self.work.close
        self._queues: dict[str, asyncio.Queue[Any]] = {topic: asyncio.Queue() for topic in app.source_topics}

    @property
    def changed(self) -> bool:
        return self.work.changed

    async def process(self, records: Sequence[Record], ends: Iterable[tuple[str, int, int]] = ()) -> bool:
        """Have the agents process a batch; raise what one of them raises."""
        errors: list[BaseException] = []
        here = asyncio.current_task()
        assert here is not None

        def ended(agent: "asyncio.Task[None]") -> None:
            if not agent.cancelled() and agent.exception() is not None:
                errors.append(agent.exception())
                here.cancel()

        agents = []
        for agent in self.app.agents.values():
            for topic in agent.channel.topics:
                agents.append(asyncio.create_task(agent.fun(Stream(self._queues[topic]))))
                agents[-1].add_done_callback(ended)
        try:
            return await process(self.work, records, list(ends), self._queues.__getitem__, self._hooks)
        except asyncio.CancelledError:
            if not errors:
                raise
            here.uncancel()
            raise errors[0] from None
        finally:
            for agent in agents:
                agent.remove_done_callback(ended)
                agent.cancel()
            await asyncio.wait(agents)

    def _fail(self, error: BaseException) -> None:
        self._errors.append(error)

    def _count_refused(self, reason: str) -> None:
        del reason
        self.refused += 1
