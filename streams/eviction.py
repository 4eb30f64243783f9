"""Has idle conversations removed: looks for them now and then, and asks their partitions' owner, so this worker itself.

Only the tables can tell that nothing happens in a conversation, and only if they have everything that is in the
sources; the messages of a conversation are in other partitions than it is, perhaps of other workers, perhaps behind.
So a search begins with a moment, waits until all that the sources held at that moment is in the tables of all workers,
and judges as of that moment.
"""

import asyncio
import logging
from collections.abc import Callable

from confluent_kafka import KafkaException

from avro import instants
from openbsp.log import event
from streams.agents.idle import encode_eviction, idle_conversations
from streams.agents.join import Join
from streams.contract import Contract
from streams.engine.ends import Ends
from streams.engine.membership import MembershipApp
from streams.engine.writer import Writer
from streams.errors import MembershipError

logger = logging.getLogger(__name__)

_LONGEST_INTERVAL_S = 3600.0
_ASK_TIMEOUT_S = 10.0
_ASK_AGAIN_S = 1.0
_WAIT_S = 0.2
#: Between slices: a search may take its time.
_PAUSE_S = 0.002
_OUTSTANDING = 10_000

At = tuple[str, int]


class Eviction:
    """Removes conversations in which nothing has happened for `idle_after_s` seconds, by the clock of this machine."""

    def __init__(
        self,
        idle_after_s: float,
        contract: Contract,
        writer: Writer,
        app: MembershipApp,
        ends: Ends,
        *,
        partition_count: int,
    ) -> None:
        """Ask nobody yet; `partition_count` is that of each source."""
        self._idle_after_s = idle_after_s
        self._contract = contract
        self._writer = writer
        self._app = app
        self._ends = ends
        self._partitions = range(partition_count)

    async def run(self, owned: Callable[[], Join | None]) -> None:
        """Search now and then, for ever; `owned` tells what this worker owns at the moment."""
        interval_s = min(_LONGEST_INTERVAL_S, self._idle_after_s / 10)
        while True:
            await asyncio.sleep(interval_s)
            join = owned()
            if join is None or not join.conversations:
                continue
            try:
                await self._look(join, lambda join=join: owned() is join)  # type: ignore[misc] # bound for the linter
            except (KafkaException, MembershipError, TimeoutError) as error:
                logger.warning("idle conversations not searched, retrying: %s", error, extra=event("idle.not_searched"))

    async def _look(self, join: Join, going: Callable[[], bool]) -> None:
        before = instants.now() - int(self._idle_after_s * 1_000_000)
        if not await self._all_applied(join, going):
            return
        count = 0
        topic, request = self._contract.topic("streams-contributions"), encode_eviction(before)
        for partition, task in join.conversations.items():
            for conversation_id in idle_conversations(task.store, before):
                if conversation_id is None:
                    await asyncio.sleep(_PAUSE_S)
                else:
                    self._writer.write(topic, conversation_id.encode(), request, partition)
                    count += 1
                if not await _reached(lambda: self._writer.outstanding < _OUTSTANDING, going):
                    return
        if count:
            since = instants.render(before)
            removed = event("idle.removed", conversations=count, since=since)
            logger.info("removing %d conversations that are idle since %s", count, since, extra=removed)

    async def _all_applied(self, join: Join, going: Callable[[], bool]) -> bool:
        """Wait until what is in the sources now is in all tables; False if this worker has lost its partitions."""
        named = {name: topic for topic, name in self._contract.names.items()}
        entities = [(named[name], number) for name in ("messages", "conversations") for number in self._partitions]
        ends = await self._ends.of(entities, _ASK_TIMEOUT_S)
        while going():
            committed = await self._app.committed(entities)
            # What is committed has told the conversations already, and they are told in order.
            if all(at in committed and committed[at].offset >= end for at, end in ends.items()):
                break
            await asyncio.sleep(_ASK_AGAIN_S)
        own = [(named["streams-contributions"], number) for number in join.conversations]
        ends = await self._ends.of(own, _ASK_TIMEOUT_S)
        return await _reached(lambda: all(join.position(*at) >= end for at, end in ends.items()), going)


async def _reached(condition: Callable[[], bool], going: Callable[[], bool]) -> bool:
    while going():
        if condition():
            return True
        await asyncio.sleep(_WAIT_S)
    return False
