"""Schema ids: those with which states are written, which change if the registry loses its data; those of events."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping

from openbsp.backoff import Backoff
from openbsp.errors import RegistryError
from openbsp.log import event
from streams.contract import Contract, Refused

logger = logging.getLogger(__name__)

#: Seconds between two refreshes without a complaint.
ASK_EVERY_S = 30.0
#: Seconds after a complaint in which others are ignored; doubled each time that a refresh found nothing new.
_PAUSE_S = 1.0

#: Dead letters for these reasons may be caused by ids that mean another schema now.
_COMPLAINTS = frozenset({"unknown_schema", "wrong_subject", "undecodable"})

_UNKNOWN = (
    "states are written with ids that it does not have, and consumers cannot read them until `bridge schemas "
    "register` has been run"
)

Ids = Mapping[str, int]


class SchemaIds:
    """Keeps the newest ids in use. While the registry does not answer, the known ones stay in use."""

    def __init__(self, ask: Callable[[], Coroutine[None, None, Ids]], use: Callable[[Ids], None], ids: Ids) -> None:
        """Ask by `ask`, which raises RegistryError; `use` is called with ids that differ from `ids`."""
        self._ask = ask
        self._use = use
        self._ids = dict(ids)
        self._complained = asyncio.Event()
        #: Whether the registry has the schemas, as far as it answers.
        self.known = True

    @property
    def problem(self) -> str | None:
        """What is wrong with the schemas, and what to do; None if nothing is, as far as the registry answers."""
        return None if self.known else f"schema registry: {_UNKNOWN}"

    def complain(self) -> None:
        """Refresh now: a record has an unknown id."""
        self._complained.set()

    def refused(self, reason: str) -> None:
        """Refresh if a dead letter's reason may be caused by the ids."""
        if reason in _COMPLAINTS:
            self.complain()

    async def watch(self, every_s: float = ASK_EVERY_S, pause_s: float = _PAUSE_S) -> None:
        """Refresh regularly until cancelled, and at once after a complaint, unless one came lately."""
        backoff = Backoff(pause_s, every_s)
        while True:
            await asyncio.wait([waiting := asyncio.create_task(self._complained.wait())], timeout=every_s)
            waiting.cancel()
            complained = self._complained.is_set()
            self._complained.clear()
            if await self.look() or not complained:
                backoff.reset()
            else:
                # Unreadable records must not cause a request each.
                await backoff.wait()

    async def look(self) -> bool:
        """Ask once; return whether the answer was news."""
        try:
            ids = dict(await self._ask())
        except RegistryError as error:
            return self._not_told(error)
        news = not self.known
        if news:
            logger.info("the schema registry has the schemas again", extra=event("schemas.known"))
        self.known = True
        if ids == self._ids:
            return news
        logger.warning(
            "the schema ids in the registry have changed: %s; new records have the new ids",
            ", ".join(
                f"{name} {self._ids.get(name)} -> {new}" for name, new in ids.items() if self._ids.get(name) != new
            ),
            extra=event("schemas.ids_changed"),
        )
        self._ids = ids
        self._use(ids)
        return True

    def _not_told(self, error: RegistryError) -> bool:
        if not error.absent:
            logger.warning("schema registry: the known ids stay in use: %s", error, extra=event("schemas.not_asked"))
            return False
        news, self.known = self.known, False
        if news:
            logger.error(
                "schema registry: %s: %s",
                _UNKNOWN,
                error,
                extra=event("schemas.unknown"),
            )
        return news


async def learn(
    contract: Contract, schema_text: Callable[[int], Coroutine[None, None, str]], name: str, schema_id: int
) -> bool:
    """Load a writer schema into the contract; see `intake.Learn`. `schema_text` asks the registry: RegistryError."""
    try:
        text = await schema_text(schema_id)
    except RegistryError as error:
        if error.absent:
            raise Refused("unknown_schema", f"schema id {schema_id} is not registered") from None
        logger.warning("waiting for the schema registry: %s", error, extra=event("registry.waiting"))
        return False
    contract.decoders[name].learn(schema_id, text)
    return True
