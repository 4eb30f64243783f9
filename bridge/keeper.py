"""Where an accepted item is kept: in Kafka, or in the spool when Kafka cannot take it or does not in time."""

import asyncio
import time

from bridge.errors import NotStoredError, SpoolFullError
from bridge.items import Item, pack
from bridge.metrics import Metrics
from bridge.preparation import Preparation
from bridge.publisher import Publisher, Report
from bridge.spool import Spool, Ticket
from bridge.timeouts import Timeouts

#: Seconds that the disk may take to confirm. Together with the longest deadline that stays under the sender's 5 s.
SPOOL_WAIT_S = 0.9

#: Requests whose body took longer than this get a timer of their own.
_LATE_S = 0.05


class _Waiting:
    """An item whose request waits: first for Kafka, then for the disk."""

    __slots__ = ("future", "item", "keeper", "since", "ticket")

    def __init__(self, keeper: "Keeper", item: Item, future: asyncio.Future[Report | None]) -> None:
        self.keeper = keeper
        #: None once the item was handed to the spool; a report of Kafka comes too late then.
        self.item: Item | None = item
        self.future = future
        self.since = time.monotonic()
        self.ticket: Ticket | None = None

    def reported(self, report: Report) -> None:
        self.keeper._reported(self, report)  # noqa: SLF001 a part of the keeper

    def stored(self, error: NotStoredError | None) -> None:
        self.keeper._stored(self, error)  # noqa: SLF001


class Keeper:
    """Keeps items.

    While the spool holds anything, items queue behind it and do not wait for Kafka. That keeps their order, and it is
    the breaker: during an outage nobody waits for the deadline.
    """

    def __init__(
        self, publisher: Publisher, spool: Spool, preparation: Preparation, deadline_s: float, metrics: Metrics
    ) -> None:
        """Put the parts together. `deadline_s` counts from a request's arrival."""
        self._publisher = publisher
        self._spool = spool
        self._preparation = preparation
        self._deadline_s = deadline_s
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        #: Why the latest item did not get into Kafka; None if it did.
        self.last_failure: str | None = None
        self._publishing: Timeouts[_Waiting] = Timeouts(deadline_s, self._deadline_passed)
        self._spooling: Timeouts[_Waiting] = Timeouts(SPOOL_WAIT_S, self._disk_too_slow)

    async def keep(self, item: Item, arrived: float) -> Report | None:
        """Return where in Kafka the item is, or None if it is in the spool. Raises NotStoredError.

        `arrived` is the time.monotonic() of the request's arrival.
        """
        waiting = _Waiting(self, item, self._loop.create_future())
        maker = self._preparation.maker
        if maker is None or self._spool.events:
            self._to_spool(waiting)
        else:
            lateness = waiting.since - arrived
            if lateness < _LATE_S:
                self._publishing.add(waiting)
            else:
                self._loop.call_later(max(0.0, self._deadline_s - lateness), self._deadline_passed, waiting)
            self._publisher.publish(maker.record(item), waiting.reported)
        return await waiting.future

    def _reported(self, waiting: _Waiting, report: Report) -> None:
        if waiting.item is None or waiting.future.done():
            return
        self._publishing.discard(waiting)
        if report.failure is None:
            self._metrics.publish_seconds.observe(time.monotonic() - waiting.since)
            self.last_failure = None
            waiting.future.set_result(report)
        else:
            self.last_failure = f"{report.failure.error}: {report.failure.detail}"
            self._metrics.publish_failures.labels(report.failure.error).inc()
            self._to_spool(waiting)

    def _deadline_passed(self, waiting: _Waiting) -> None:
        if waiting.item is None or waiting.future.done():
            return
        self.last_failure = "Kafka did not acknowledge within the deadline"
        self._metrics.publish_failures.labels("deadline").inc()
        self._to_spool(waiting)

    def _to_spool(self, waiting: _Waiting) -> None:
        item, waiting.item = waiting.item, None
        if item is None:
            return
        try:
            waiting.ticket = self._spool.put(item.received_at, pack(item), waiting.stored)
        except SpoolFullError as error:
            waiting.future.set_exception(error)
        else:
            self._spooling.add(waiting)

    def _stored(self, waiting: _Waiting, error: NotStoredError | None) -> None:
        self._spooling.discard(waiting)
        if waiting.future.done():
            return
        if error is None:
            waiting.future.set_result(None)
        else:
            waiting.future.set_exception(error)

    def _disk_too_slow(self, waiting: _Waiting) -> None:
        if waiting.future.done():
            return
        withdrawn = waiting.ticket is not None and self._spool.withdraw(waiting.ticket)
        detail = "the disk is too slow" if withdrawn else "the disk did not confirm in time; the event may be stored"
        waiting.future.set_exception(NotStoredError(detail))
