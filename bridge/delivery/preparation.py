"""What must be known before anything is published: that the topics are right, and the registry's schema ids."""

import asyncio
import contextlib
import hashlib
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

from avro.catalogue import TOPICS
from avro.errors import ContractError
from avro.schemas import latest
from bridge.delivery.records import RecordMaker
from bridge.delivery.spool.spool import Spool
from bridge.metrics import Metrics
from openbsp.backoff import Backoff
from openbsp.errors import RegistryError, TopicsError
from openbsp.threads import in_thread

_log = logging.getLogger(__name__)

_FIRST_RETRY_S = 0.25
_LONGEST_RETRY_S = 10.0

_KAFKA = "kafka"
_REGISTRY = "schema_registry"
_SERVERS = (_KAFKA, _REGISTRY)


class TopicsCheck(Protocol):
    """As openbsp.kafka.topics.Topics."""

    def check(self) -> None:
        """Raise a ContractError unless the topics are as the catalogue has them."""


class SchemaIds(Protocol):
    """As openbsp.kafka.registry.Registry."""

    def ids(self) -> Mapping[str, int]:
        """Return the schema id by record name. Raises RegistryError."""


class Preparation:
    """Finds out, in the background and for as long as it takes. Until then items are spooled.

    `maker` is None until both are known. The ids are remembered in the spool, so that a restart while the registry is
    down publishes at once. `open` tells by server what is not known yet and why; a server in `faults` answered, and
    does not fit the contract.
    """

    def __init__(
        self,
        topics: TopicsCheck,
        registry: SchemaIds,
        spool: Spool,
        *,
        new_maker: Callable[[Mapping[str, int]], RecordMaker],
        registry_url: str,
        metrics: Metrics,
    ) -> None:
        """Put the parts together; nothing is asked yet."""
        self._topics = topics
        self._registry = registry
        self._spool = spool
        self._new_maker = new_maker
        self._memory = _memory_name(registry_url)
        self._metrics = metrics
        self._ids: Mapping[str, int] | None = None
        self._verified = False
        self._asked: set[str] = set()
        self._news = asyncio.Condition()
        self.open: dict[str, str] = dict.fromkeys(_SERVERS, "has not answered yet")
        self.faults: set[str] = set()
        self.maker: RecordMaker | None = None
        self.ready = asyncio.Event()

    async def start(self, patience_s: float) -> "asyncio.Task[None]":
        """Wait up to `patience_s` seconds for both servers, then go on in the task that is returned.

        Raises ContractError if one answered and does not fit the contract: better not to start than to guess.
        """
        remembered = await self._spool.recall(self._memory)
        if remembered is not None:
            self._learn(json.loads(remembered))
        task = asyncio.create_task(self._run(), name="preparation")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s), self._news:
                await self._news.wait_for(lambda: not self.open or (self.faults and self._asked == {*_SERVERS}))
        if self.faults:
            task.cancel()
            raise ContractError("\n".join(self.open[server] for server in sorted(self.faults)))
        return task

    def known_maker(self) -> RecordMaker:
        """Return the maker. Raises RuntimeError before `ready`."""
        if self.maker is None:
            raise RuntimeError("the contract is not known yet")
        return self.maker

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._verify_topics())
            group.create_task(self._ask_ids())

    async def _verify_topics(self) -> None:
        async for _ in _attempts():
            try:
                await in_thread(self._topics.check)
            except Exception as error:  # noqa: BLE001 whatever the client library raises, it is asked again
                await self._failed(_KAFKA, error, fault=isinstance(error, TopicsError))
            else:
                self._verified = True
                self._metrics.kafka_verified.set(1)
                await self._succeeded(_KAFKA)
                return

    async def _ask_ids(self) -> None:
        async for _ in _attempts():
            try:
                ids = dict(await in_thread(self._registry.ids))
            except Exception as error:  # noqa: BLE001 as above
                await self._failed(_REGISTRY, error, fault=isinstance(error, RegistryError) and error.refused)
            else:
                if self._ids not in (None, ids):
                    _log.error("the schema ids differ from those remembered: %s, not %s", ids, self._ids)
                self._learn(ids)
                await self._succeeded(_REGISTRY)
                try:
                    await self._spool.remember(self._memory, json.dumps(ids))
                except sqlite3.Error as error:
                    _log.warning("the schema ids cannot be remembered: %s", error)
                return

    def _learn(self, ids: Mapping[str, int]) -> None:
        self._ids = ids
        self._metrics.schema_ids_known.set(1)
        self._publish_if_ready()

    async def _succeeded(self, server: str) -> None:
        del self.open[server]
        self.faults.discard(server)
        self._publish_if_ready()
        await self._tell(server)

    async def _failed(self, server: str, error: Exception, *, fault: bool) -> None:
        text = str(error) if isinstance(error, ContractError) else f"{type(error).__name__}: {error}"
        if text != self.open[server]:
            _log.log(logging.ERROR if fault else logging.WARNING, "events are spooled until this is over: %s", text)
        self.open[server] = text
        if fault:
            self.faults.add(server)
        else:
            self.faults.discard(server)
        await self._tell(server)

    async def _tell(self, server: str) -> None:
        self._asked.add(server)
        async with self._news:
            self._news.notify_all()

    def _publish_if_ready(self) -> None:
        if self._verified and self._ids is not None:
            self.maker = self._new_maker(self._ids)
            self.ready.set()


async def _attempts() -> AsyncIterator[None]:
    backoff = Backoff(_FIRST_RETRY_S, _LONGEST_RETRY_S)
    while True:
        yield
        await backoff.wait()


def _memory_name(registry_url: str) -> str:
    # The ids belong to a registry and to the very texts that were registered.
    texts = [latest(topic.schema).text for topic in TOPICS.values() if topic.schema is not None]
    return "schema ids " + hashlib.sha256("\n".join([registry_url, *texts]).encode()).hexdigest()
