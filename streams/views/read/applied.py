"""Read your writes: waits until a record that the bridge has acknowledged is in every table that it changes.

A record of `messages` changes its message at once, and its conversation through a second record. So there are two
waits: until every record that it caused at the message's worker is acknowledged, then until the conversation's worker
has read up to the end that the second topic had at that moment. Both waits cover former owners: what they committed was
acknowledged, and what they did not commit is processed again by their successor.
"""

import time
from http import HTTPStatus

from openbsp.kafka.position import Position, position_of
from streams.engine.end_offsets import Ends
from streams.engine.errors import UNAVAILABLE, name_of
from streams.views.access import Reader
from streams.views.cluster.peers import Peers
from streams.views.problems import ProblemError, not_ready, relayed
from streams.views.read.tables import Tables
from streams.views.refusals import INVALID_PARAMETER

#: Where other workers wait for a record (internal).
PATH = "/internal/applied"


class Applied:
    """Waits for records, here or at the worker that reads them."""

    def __init__(self, tables: Tables, peers: Peers, ends: Ends, timeout_s: float) -> None:
        """Wait for `timeout_s` seconds at the most."""
        self._tables = tables
        self._peers = peers
        self._ends = ends
        self.timeout_s = timeout_s

    def parse(self, text: str) -> Position:
        """Read the position of a record, as in a receipt of the bridge. Raises ProblemError."""
        written = position_of(text)
        topics = (self._tables.messages_topic, self._tables.conversations_topic)
        if written is None or written.topic not in topics:
            raise ProblemError(
                INVALID_PARAMETER, f"after is <topic>:<partition>:<offset> of a receipt; topics are {', '.join(topics)}"
            )
        if written.partition >= self._tables.partition_count:
            raise ProblemError(INVALID_PARAMETER, f"{written.topic} has {self._tables.partition_count} partitions")
        return written

    def changes_conversations_late(self, written: Position) -> bool:
        """Return whether conversations are updated through a second record."""
        return written.topic == self._tables.messages_topic

    async def wait(self, written: Position, reader: Reader, deadline: float, until: float) -> None:
        """Return when the record, and all that it caused, is written. Raises ProblemError.

        Another worker may wait `until` that time for its partitions to become ready.
        """
        if self._tables.owns(written.partition):
            await self.wait_here(written, deadline)
            return
        url = self._tables.owner(written.partition)
        target = f"{PATH}?after={written}".encode()
        answer = await self._peers.ask(
            url, target, reader, {written.partition}, until=until, timeout_s=deadline - time.monotonic() + 1
        )
        if answer.status != HTTPStatus.NO_CONTENT:
            raise relayed(answer.content, {written.partition})

    async def wait_here(self, written: Position, deadline: float) -> None:
        """Do so for a partition of this worker. Raises ProblemError."""
        if not self._tables.owns(written.partition):
            raise not_ready("the partition is another worker's", {written.partition}, passing=False)
        worker = self._tables.worker
        await self._tables.wait_until(
            lambda: worker.settled(written.topic, written.partition) > written.offset, deadline
        )

    async def wait_for_contributions(self, partitions: frozenset[int], deadline: float) -> None:
        """Return when this worker's conversations have all contributions that messages have sent so far.

        Raises ProblemError.
        """
        for partition in partitions:
            self._tables.owns(partition)
        join = self._tables.assignment.join
        topic = self._tables.contributions_topic
        try:
            ends = await self._ends.of(((topic, partition) for partition in partitions), deadline - time.monotonic())
        except UNAVAILABLE as error:
            raise not_ready(f"the end offset of {topic} cannot be read: {name_of(error)}", partitions) from None
        await self._tables.wait_until(lambda: all(join.position(*at) >= end for at, end in ends.items()), deadline)
