"""The preconditions of publishing: the topics are right, and the registry's schema ids are known."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from bridge.delivery.records import RecordMaker
from bridge.delivery.schema_watch import SchemaIds, SchemaWatch
from bridge.delivery.spool.spool import Spool
from bridge.delivery.topic_watch import TopicsCheck, TopicWatch
from bridge.metrics import Metrics

_KAFKA = "kafka"
_REGISTRY = "schema_registry"
#: Seconds for which a start still waits for the servers once a request waits for it.
_WANTED_S = 1.0


class Preparation:
    """Watches both, in the background and for as long as the bridge runs. While either is missing, events are spooled.

    `maker` is None and `ready` is cleared then. `waiting_for` has the problem of each server; a server in `faults`
    answered, and does not match the contract. `remarks` are notes for operators that do not prevent publishing.
    """

    def __init__(
        self,
        topics: TopicsCheck,
        registry: SchemaIds,
        spool: Spool,
        *,
        new_maker: Callable[[Mapping[str, int]], RecordMaker],
        registry_url: str,
        cluster: str,
        on_outdated: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        """Assemble; nothing is asked yet. `on_outdated` and `cluster`: see TopicWatch."""
        self._topics = TopicWatch(topics, self._changed, on_outdated, metrics, notes=spool, cluster=cluster)
        self._schemas = SchemaWatch(registry, registry_url, spool, self._changed, metrics)
        self._new_maker = new_maker
        self._made_for: Mapping[str, int] | None = None
        self._made: RecordMaker | None = None
        self._news = asyncio.Event()
        self.maker: RecordMaker | None = None
        self.ready = asyncio.Event()

    @property
    def waiting_for(self) -> dict[str, str]:
        """What is missing, by server."""
        problems = {_KAFKA: self._topics.problem, _REGISTRY: self._schemas.problem}
        return {server: problem for server, problem in problems.items() if problem is not None}

    @property
    def faults(self) -> set[str]:
        """The servers that answered and do not match the contract."""
        return {server for server, watch in ((_KAFKA, self._topics), (_REGISTRY, self._schemas)) if watch.wrong}

    @property
    def remarks(self) -> list[str]:
        """Differences from the contract that do not prevent publishing."""
        return self._topics.remarks

    async def start(self, patience_s: float, wanted: asyncio.Event) -> "asyncio.Task[None]":
        """Wait up to `patience_s` seconds for an answer of both servers, then go on in the task that is returned.

        `wanted` is set once requests wait: a second later they are answered, from the spool if need be.
        """
        await self._schemas.recall()
        task = asyncio.create_task(self._run(), name="preparation")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s) as limit:
                hurry = asyncio.create_task(_hurry(limit, wanted))
                try:
                    while not self._answered():
                        self._news.clear()
                        await self._news.wait()
                finally:
                    hurry.cancel()
        return task

    def doubt(self) -> None:
        """Stop publishing until the topics are verified again."""
        self._topics.doubt()

    def _answered(self) -> bool:
        return not self.waiting_for or (bool(self.faults) and self._topics.asked and self._schemas.asked)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._topics.run())
            group.create_task(self._schemas.run())

    def _changed(self) -> None:
        ids = self._schemas.ids
        if ids is not None and ids != self._made_for:
            self._made, self._made_for = self._new_maker(ids), ids
        if self._topics.usable and ids is not None:
            self.maker = self._made
            self.ready.set()
        else:
            self.maker = None
            self.ready.clear()
        self._news.set()


async def _hurry(limit: asyncio.Timeout, wanted: asyncio.Event) -> None:
    await wanted.wait()
    soon, end = asyncio.get_running_loop().time() + _WANTED_S, limit.when()
    if end is not None and soon < end:
        limit.reschedule(soon)
