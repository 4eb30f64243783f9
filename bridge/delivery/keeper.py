"""Where an accepted item is kept: in Kafka, or in the spool when Kafka cannot take it or does not in time."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from bridge.delivery.items import Item, pack
from bridge.delivery.memory import Memory
from bridge.delivery.preparation import Preparation
from bridge.delivery.publisher import Publisher, Report
from bridge.delivery.spool.spool import Spool, Ticket
from bridge.delivery.timeouts import Timeouts
from bridge.errors import NotStoredError, SpoolFullError
from bridge.metrics import Metrics
from bridge.suppressions.hashes import NOBODY, Suppressed
from openbsp.log import event

_log = logging.getLogger(__name__)


class Spooled:
    """An item is kept in the spool."""


#: An item's place in Kafka, or that it is in the spool, or why it could not be stored.
Kept = Report | Spooled | NotStoredError
OnKept = Callable[[Kept], None]
#: Stores an item that arrived at this time of the monotonic clock, and calls `OnKept` once: `Keeper.keep`.
Keep = Callable[[Item, float, OnKept], None]

_SPOOLED = Spooled()

#: Seconds that the disk may take to confirm. Together with the longest deadline that stays under the sender's 5 s.
SPOOL_WAIT_S = 0.9

#: Seconds that an event waits for room in a full spool that drains. With a body that took as long, and with the disk,
#: that stays under the 4 s in which a request is answered.
_ROOM_WAIT_S = 1.5

#: For so many seconds a failure counts as Kafka being down. An ingress that is not ready receives nothing, so no
#: success would ever show that Kafka has recovered.
_FAILURE_COUNTS_S = 10.0

#: Requests whose body took longer than this get a timer of their own.
_LATE_S = 0.05


class _Waiting:
    """An item that a request waits for: first for Kafka, then for the disk."""

    __slots__ = ("held", "item", "keeper", "on_kept", "since", "ticket")

    def __init__(self, keeper: "Keeper", item: Item, since: float, on_kept: OnKept) -> None:
        self.keeper = keeper
        #: None once the item was handed to the spool; a delivery report comes too late then.
        self.item: Item | None = item
        #: None once it was called.
        self.on_kept: OnKept | None = on_kept
        self.since = since
        self.ticket: Ticket | None = None
        #: Bytes that the producer holds of it, also after its request was answered.
        self.held = 0

    def reported(self, report: Report) -> None:
        self.keeper.memory.give(self.held)
        if self.item is None or self.on_kept is None:
            return
        self.keeper.publishing.discard(self)
        if report.failure is None:
            self.keeper.published(time.monotonic() - self.since)
            self.end(report)
        else:
            self.keeper.failed(self, report.failure.error, f"{report.failure.error}: {report.failure.detail}")

    def deadline_passed(self) -> None:
        if self.item is not None and self.on_kept is not None:
            self.keeper.failed(self, "deadline", "Kafka did not acknowledge within the deadline")

    def stored(self, error: NotStoredError | None) -> None:
        if self.ticket is not None:
            self.keeper.memory.give(len(self.ticket.body))
            # Trap: a ticket refers to its callback, so the cycle would keep both until a garbage collection.
            self.ticket = None
        self.keeper.spooling.discard(self)
        self.end(_SPOOLED if error is None else error)

    def disk_too_slow(self, spool: Spool) -> None:
        if self.on_kept is None:
            return
        withdrawn = self.ticket is not None and spool.withdraw(self.ticket)
        if withdrawn and self.ticket is not None:
            self.keeper.memory.give(len(self.ticket.body))
        detail = "the disk is too slow" if withdrawn else "the disk did not confirm in time; the event may be stored"
        self.end(NotStoredError(detail))

    def end(self, kept: Kept) -> None:
        on_kept, self.on_kept = self.on_kept, None
        # Trap: a timer keeps this alive until the deadline, and with it the row and its JSON of an answered request.
        self.item = None
        if on_kept is not None:
            if isinstance(kept, NotStoredError) and self.held:
                kept = NotStoredError(f"{kept}; Kafka may have the event already, or receive it later")
            try:
                on_kept(kept)
            except Exception:  # noqa: BLE001 whatever it is
                # Trap: reports come in batches, and an error here must not stop the others.
                _log.exception(
                    "a request could not be answered; its event is stored, or reported as not stored",
                    extra=event("webhook.not_answered"),
                )


class _Queued(NamedTuple):
    """An item that waits for room in the spool."""

    waiting: _Waiting
    received_at: int
    body: bytes


class Keeper:
    """Keeps items.

    While the spool holds anything, items queue behind it and do not wait for Kafka. That keeps their order, and it is
    the breaker: during an outage no request waits for the deadline. If it is full, and drains, they wait for room: to
    publish them at once would overtake those of their keys (docs/decisions/0243).
    """

    def __init__(
        self,
        publisher: Publisher,
        spool: Spool,
        preparation: Preparation,
        deadline_s: float,
        metrics: Metrics,
        *,
        memory: Memory,
        suppressed: Suppressed = NOBODY,
    ) -> None:
        """Assemble. `deadline_s` counts from a request's arrival."""
        self._publish = publisher.publish
        self._spool = spool
        self._preparation = preparation
        self._deadline_s = deadline_s
        self._metrics = metrics
        self.memory = memory
        self._suppressed = suppressed
        self._loop = asyncio.get_running_loop()
        #: Why the latest item was not acknowledged by Kafka; None if it was.
        self.last_failure: str | None = None
        self._failed_at = 0.0
        self.publishing: Timeouts[_Waiting] = Timeouts(deadline_s, _Waiting.deadline_passed)
        self.spooling: Timeouts[_Waiting] = Timeouts(SPOOL_WAIT_S, lambda waiting: waiting.disk_too_slow(spool))
        #: Items that wait for room in the spool, in the order of their arrival.
        self._queue: deque[_Queued] = deque()
        self.queueing: Timeouts[_Queued] = Timeouts(_ROOM_WAIT_S, self._no_room)
        spool.on_room = self._room

    def keep(self, item: Item, arrived: float, on_kept: OnKept) -> None:
        """Store an item, and call `on_kept` once, possibly before this returns.

        `arrived` is the time.monotonic() of the request's arrival.
        """
        now = time.monotonic()
        waiting = _Waiting(self, item, now, on_kept)
        maker = self._preparation.maker
        if maker is None or self._spool.events or self._queue or not self._suppressed.known:
            drains = maker is not None and self._suppressed.known
            self._to_spool(waiting, may_wait=drains and now - arrived < _ROOM_WAIT_S)
            return
        record = maker.record(item)
        if now - arrived < _LATE_S:
            self.publishing.add(waiting, now)
        else:
            self._loop.call_later(max(0.0, arrived + self._deadline_s - now), waiting.deadline_passed)
        waiting.held = len(record.value)
        self.memory.add(waiting.held)
        self._publish(record, waiting.reported)

    @property
    def failing(self) -> bool:
        """Whether the latest item was not acknowledged by Kafka, a short time ago."""
        return self.last_failure is not None and time.monotonic() - self._failed_at < _FAILURE_COUNTS_S

    def published(self, seconds: float) -> None:
        """Record an acknowledgement that took so many seconds."""
        self.last_failure = None
        self._metrics.publish_seconds.observe(seconds)

    def failed(self, waiting: _Waiting, error: str, detail: str) -> None:
        """Record a failed record, and spool its item."""
        self.last_failure = detail
        self._failed_at = time.monotonic()
        self._metrics.publish_failures.labels(error).inc()
        # The drain must not publish to a topic that may have been recreated meanwhile.
        self._preparation.doubt()
        self._to_spool(waiting)

    def _to_spool(self, waiting: _Waiting, *, may_wait: bool = False) -> None:
        item, waiting.item = waiting.item, None
        if item is None:
            return
        queued = _Queued(waiting, item.received_at, pack(item))
        self._room()
        if self._queue or not self._put(queued):
            if not may_wait or len(queued.body) >= self._spool.max_bytes:
                waiting.end(SpoolFullError("the spool is full"))
                return
            self._queue.append(queued)
            self.queueing.add(queued, time.monotonic())
        self.memory.add(len(queued.body))

    def _put(self, queued: _Queued) -> bool:
        """Give the spool an item; return whether it has room."""
        try:
            queued.waiting.ticket = self._spool.put(queued.received_at, queued.body, queued.waiting.stored)
        except SpoolFullError:
            return False
        self.spooling.add(queued.waiting, time.monotonic())
        return True

    def _room(self) -> None:
        """Give the spool those that wait for room, as far as there is some."""
        while self._queue and self._put(self._queue[0]):
            self.queueing.discard(self._queue.popleft())

    def _no_room(self, queued: _Queued) -> None:
        # All have the same time, so that it is the first one's which is over.
        self._queue.remove(queued)
        self.memory.give(len(queued.body))
        queued.waiting.end(SpoolFullError("the spool is full, and too little has left it in time"))
        # What is smaller may fit now that it is the first.
        self._room()
