"""The registry's schema ids: cached over restarts, refreshed regularly, dropped when they mean something else."""

import asyncio
import hashlib
import json
import logging
import sqlite3
from collections.abc import Callable, Mapping
from typing import Protocol

from avro.catalogue import TOPICS
from avro.errors import ContractError
from avro.schemas import latest
from bridge.delivery.spool.spool import Spool
from bridge.metrics import Metrics
from openbsp.backoff import attempts
from openbsp.errors import RegistryError
from openbsp.log import event
from openbsp.threads import in_thread_within

_log = logging.getLogger(__name__)

_EVERY_S = 15.0


class SchemaIds(Protocol):
    """As openbsp.kafka.registry.Registry.

    `patience_s` are the seconds after which each method has returned or raised, unless the client has a fault.
    """

    patience_s: float

    def ids(self) -> Mapping[str, int]:
        """Return the schema id by record name. Raises RegistryError."""

    def mismatched(self, ids: Mapping[str, int]) -> list[str]:
        """Return a line for each id under which the registry has another schema, or none. Raises RegistryError."""


class SchemaWatch:
    """Asks for as long as the bridge runs; `ids` are those to publish with, None while none can be used.

    Cached ids stay in use while the registry is unavailable. They are dropped when the registry itself says that an id
    means another schema, or none: readers could not read, or would misread, records with it.
    """

    def __init__(
        self, registry: SchemaIds, registry_url: str, spool: Spool, on_change: Callable[[], None], metrics: Metrics
    ) -> None:
        """Assemble; nothing is asked yet. `on_change` is called after each answer."""
        self._registry = registry
        self._spool = spool
        self._memory = _memory_name(registry_url)
        self._on_change = on_change
        self._metrics = metrics
        self._remembered: Mapping[str, int] | None = None
        #: Whether the ids of a former start were read, and whether that failed.
        self._recalled = self._unreadable = False
        self._given_up = ""  # which ids mean another schema now
        self.ids: Mapping[str, int] | None = None
        #: Why the registry's latest answer is not usable, None if it is; and whether it answered with a mismatch.
        self.problem: str | None = "has not answered yet"
        self.wrong = False
        self.asked = False

    async def recall(self) -> None:
        """Use the ids of a former start until the registry answers; none while the spool cannot be read."""
        try:
            remembered = await self._spool.recall(self._memory)
        except sqlite3.Error as error:
            if not self._unreadable:
                self._unreadable = True
                _log.warning("saved schema ids cannot be read: %s", error, extra=event("schemas.not_recalled"))
            return
        self._recalled = True
        ids = None if remembered is None else json.loads(remembered)
        if ids is not None:
            self._remembered = ids
            self._use(ids)

    async def run(self) -> None:
        """Refresh the ids, endlessly."""
        while True:
            async for _ in attempts():
                if await self._ask():
                    break
            await asyncio.sleep(_EVERY_S)

    async def _ask(self) -> bool:
        """Ask once. Returns whether the answer is usable."""
        try:
            ids = dict(await in_thread_within(self._registry.patience_s, self._registry.ids))
        except Exception as error:  # noqa: BLE001 whatever the client library raises, it is asked again
            await self._failed(error)
            return False
        finally:
            self.asked = True
        self._answered(ids)
        self._on_change()
        await self._remember(ids)
        return True

    async def _remember(self, ids: Mapping[str, int] | None) -> None:
        if ids == self._remembered:
            return
        try:
            await self._spool.remember(self._memory, json.dumps(ids))
        except sqlite3.Error as error:
            _log.warning("schema ids cannot be saved: %s", error, extra=event("schemas.not_remembered"))
        else:
            self._remembered = ids

    def _answered(self, ids: Mapping[str, int]) -> None:
        if self.ids not in (None, ids):
            changed = event("schemas.ids_changed")
            _log.error("the registry changed its schema ids to %s, from %s", ids, self.ids, extra=changed)
        if self.wrong:
            _log.warning(
                "the registry has the schemas again; spooled events are published", extra=event("schemas.repaired")
            )
        self.problem = None
        self.wrong = False
        self._given_up = ""
        self._metrics.registry_answered.set(1)
        self._use(ids)

    async def _failed(self, error: Exception) -> None:
        text = str(error) if isinstance(error, ContractError) else f"{type(error).__name__}: {error}"
        if self.ids is None and not self._recalled:
            await self.recall()
        mismatched = await self._mismatched()
        if mismatched:
            self._given_up = f"{'; '.join(mismatched)}. "
            self.ids = None
            self._metrics.schema_ids_known.set(0)
            await self._remember(None)
        text = self._given_up + text
        wrong = bool(self._given_up) or (isinstance(error, RegistryError) and error.refused)
        if text != self.problem:
            consequence = "events are spooled until it has them" if self.ids is None else "the known ids stay in use"
            level = logging.ERROR if wrong else logging.WARNING
            _log.log(level, "schema registry: %s: %s", consequence, text, extra=event("schemas.unknown"))
        self.problem = text
        self.wrong = wrong
        self._metrics.registry_answered.set(0)
        self._on_change()

    async def _mismatched(self) -> list[str]:
        if self.ids is None:
            return []
        try:
            return await in_thread_within(self._registry.patience_s, self._registry.mismatched, self.ids)
        except Exception:  # noqa: BLE001 it cannot be asked, which is what the caller reports already
            return []

    def _use(self, ids: Mapping[str, int]) -> None:
        self.ids = ids
        self._metrics.schema_ids_known.set(1)


def _memory_name(registry_url: str) -> str:
    # The ids belong to a registry and to the very texts that were registered.
    texts = [latest(topic.schema).text for topic in TOPICS.values() if topic.schema is not None]
    return "schema ids " + hashlib.sha256("\n".join([registry_url, *texts]).encode()).hexdigest()
