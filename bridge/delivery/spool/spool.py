"""The spool for the event loop: one thread writes, and many waiting requests share an fsync."""

import asyncio
import functools
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ParamSpec, TypeVar

from bridge.delivery.spool.file import SpoolFile, StoredEvent, Totals, is_damage
from bridge.errors import NotStoredError, SpoolFullError
from bridge.metrics import Metrics
from openbsp.log import event
from openbsp.threads import answer, in_thread

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

#: What a row takes on the disk besides its body.
_ROW_OVERHEAD = 64
#: How long an erasure waits, by polling, for another process that reads the file.
_READER_S = 10.0
_LOOK_EVERY_S = 0.1

OnStored = Callable[[NotStoredError | None], None]


class Ticket:
    """An event that is being written to the disk."""

    __slots__ = ("body", "on_stored", "received_at")

    def __init__(self, received_at: int, body: bytes, on_stored: OnStored) -> None:
        self.received_at = received_at
        self.body = body
        self.on_stored = on_stored


def release_quarantine(file: SpoolFile) -> None:
    """Retry the quarantined events, as at each start: an operator may have fixed the cause."""
    if file.unopened is not None:
        return
    try:
        file.release_quarantine()
    except sqlite3.Error as error:
        _log.error("events in quarantine not retried: %s", error, extra=event("spool.quarantine_not_released"))


class Spool:
    """Stores events in a SpoolFile, which from here on belongs to this object's thread.

    `events` counts stored events and those being stored: while it is not 0, newer events queue behind.
    """

    def __init__(self, file: SpoolFile, max_bytes: int, metrics: Metrics) -> None:
        """Count what the file holds and start the thread."""
        self._file = file
        self.max_bytes = max_bytes
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._opened = file.unopened is None
        totals = file.totals() if self._opened else Totals(0, 0)
        self.events = totals.events
        self.size = totals.size + _ROW_OVERHEAD * totals.events
        self._generation = file.generation
        self._unsettled: dict[Ticket, None] = {}
        self.damaged_files = 0
        self.failing = file.unopened
        if self.failing is not None:
            _log.error(
                "the spool cannot be opened; events that Kafka does not acknowledge are answered 503: %s",
                self.failing,
                extra=event("spool.not_opened"),
            )
            metrics.spool_failures.inc()
        #: Called when events have left the spool, so that others may fit.
        self.on_room: Callable[[], None] = lambda: None
        self.arrived = asyncio.Event()
        if self.events:
            self.arrived.set()
        self.tell_damaged(file.set_aside)
        self._wake = threading.Condition()
        self._tickets: list[Ticket] = []
        self._calls: list[Callable[[], None]] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    @property
    def full(self) -> bool:
        """Whether there is no room for an event of the average size of those in it."""
        average = self.size // self.events if self.events else _ROW_OVERHEAD
        return self.size + average > self.max_bytes

    def put(self, received_at: int, body: bytes, on_stored: OnStored) -> Ticket:
        """Store an event; `on_stored` is called on the loop once it is on the disk, or cannot be.

        Raises SpoolFullError.
        """
        cost = len(body) + _ROW_OVERHEAD
        if self.size + cost > self.max_bytes:
            raise SpoolFullError("the spool is full")
        ticket = Ticket(received_at, body, on_stored)
        self.events += 1
        self.size += cost
        self._unsettled[ticket] = None
        with self._wake:
            self._tickets.append(ticket)
            self._wake.notify()
        return ticket

    def withdraw(self, ticket: Ticket) -> bool:
        """Withdraw an event that is not being written yet. False: too late, it may be stored."""
        with self._wake:
            if ticket not in self._tickets:
                return False
            self._tickets.remove(ticket)
        del self._unsettled[ticket]
        self._forget(len(ticket.body))
        return True

    async def read(self, after: StoredEvent | None, count: int, size: int) -> list[StoredEvent]:
        """Return events after `after`; see SpoolFile.read. Damaged ones are no longer counted."""
        damaged: list[StoredEvent] = []
        try:
            return await self._call(self._file.read, after, count, size, damaged.append)
        finally:
            self.forget(damaged)
            for row in damaged:
                _log.error(
                    "spooled event %d is damaged and quarantined: it did not reach Kafka",
                    row.seq,
                    extra=event("spool.event_damaged", seq=row.seq),
                )

    async def remove(self, rows: list[StoredEvent]) -> None:
        """Remove events from the disk. Raises sqlite3.Error."""
        await self._call(self._file.delete, rows)

    def forget(self, rows: list[StoredEvent]) -> None:
        """Stop counting events: newer ones need not queue behind them."""
        for row in rows:
            if row.generation == self._generation:
                self._forget(len(row.body))
        self.on_room()

    def tell_damaged(self, set_aside: Iterable[Path]) -> None:
        """Log and count files that were damaged and set aside."""
        for path in set_aside:
            _log.error(
                "the spool file was damaged and set aside as %s: its events did not reach Kafka",
                path,
                extra=event("spool.damaged"),
            )
            self._metrics.spool_damaged_files.inc()
            self.damaged_files += 1

    async def quarantine(self, row: StoredEvent, why: str) -> None:
        """Keep an unpublishable event until the next start. Raises sqlite3.Error."""
        await self._call(self._file.quarantine, row, why)
        self.forget([row])

    async def status(self) -> tuple[int | None, int]:
        """Return when the first event was received, in microseconds since the epoch, and how many are in quarantine."""
        return await self._call(self._status)

    async def probe(self) -> None:
        """Check whether a failed spool is writable again."""
        try:
            await self._call(self._probe)
        except sqlite3.Error as error:
            self.failing = str(error)
            self._metrics.spool_failures.inc()
        else:
            self._works()

    async def shrink(self) -> None:
        """Return the space of deleted events to the disk, if it is much. Raises sqlite3.Error.

        In parts, with events stored between them. It stops if there are some, and continues at the next call.
        """
        while await self._call(self._file.shrink) and not self.events:
            pass

    async def read_quarantine(self, after: StoredEvent | None, size: int) -> list[StoredEvent]:
        """Return some of the quarantined events; see SpoolFile.read_quarantine."""
        return await self._call(self._file.read_quarantine, after, size)

    async def erase(self, rows: list[StoredEvent], *, quarantined: bool = False) -> int:
        """Remove events for good; see SpoolFile.erase. The caller has to call `forget` afterwards.

        Not for those in quarantine: they are not counted any more.
        """
        return await self._call(self._file.erase, rows, quarantined=quarantined)

    async def squeeze(self) -> None:
        """Remove every byte of former events from the files, in parts as `shrink` does. Raises sqlite3.Error.

        Also if another process has been reading them for _READER_S seconds.
        """
        while await self._call(self._file.squeeze):
            pass
        deadline = time.monotonic() + _READER_S
        # Between two attempts the thread stores new events.
        while not await self._call(self._file.fold):
            if time.monotonic() > deadline:
                raise sqlite3.OperationalError(
                    "another process reads the spool, so that bytes of deleted events stay in its file"
                )
            await asyncio.sleep(_LOOK_EVERY_S)

    async def start_over(self, through: StoredEvent | None) -> bool:
        """Start an empty file if this one holds nothing but events up to `through`, which are settled."""
        done = await self._call(self._file.start_over, through)
        self._generation += done
        return done

    async def recall(self, name: str) -> str | None:
        """Return the value passed to `remember`, possibly before a restart."""
        return await self._call(self._file.recall, name)

    async def remember(self, name: str, value: str) -> None:
        """Keep a value over restarts. Raises sqlite3.Error."""
        await self._call(self._file.remember, name, value)

    async def close(self) -> None:
        """Store waiting events, and end the thread; the file stays open."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        await in_thread(self._thread.join)

    def _forget(self, body_size: int) -> None:
        self.events -= 1
        self.size -= body_size + _ROW_OVERHEAD

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        future: asyncio.Future[T] = self._loop.create_future()
        bound = functools.partial(self._use, function, *args, **kwargs)
        run = functools.partial(answer, future, bound, self._replace_if_damaged)

        with self._wake:
            self._calls.append(run)
            self._wake.notify()
        return await future

    # What follows runs in the thread.

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._tickets or self._calls or self._stopping):
                    self._wake.wait()
                tickets, self._tickets = self._tickets, []
                calls, self._calls = self._calls, []
                if not tickets and not calls:
                    return
            if tickets:
                self._store(tickets)
            for call in calls:
                call()

    def _store(self, tickets: list[Ticket]) -> None:
        rows = [(ticket.received_at, ticket.body) for ticket in tickets]
        started = time.perf_counter()
        error: Exception | None = None
        appended = False
        for attempt in (1, 2):
            try:
                self._open()
                self._stay_in_place(0)
                self._file.append(rows)
                appended = True
                # A commit counts only in the file that the next start will find.
                self._stay_in_place(len(rows))
                error = None
                break
            except Exception as raised:  # noqa: BLE001 whatever it is, it must not end the thread
                error = raised
                if appended or attempt == 2:  # noqa: PLR2004
                    break
                if not (self._replace_if_damaged(raised) or self._made_room()):
                    break
        took = time.perf_counter() - started
        self._loop.call_soon_threadsafe(self._stored, tickets, error, took, appended)

    def _use(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._open()
        return function(*args, **kwargs)

    def _open(self) -> None:
        """Open a file that could not be opened at the start, and count its events before anything else.

        Raises sqlite3.Error.
        """
        if self._opened:
            return
        self._file.totals()  # which opens it
        release_quarantine(self._file)
        totals = self._file.totals()
        # Trap: as long as any of this fails, the file's events are not counted.
        self._opened = True
        self._loop.call_soon_threadsafe(self._found, totals)

    def _probe(self) -> None:
        self._stay_in_place(0)
        self._file.remember("probe", "")

    def _status(self) -> tuple[int | None, int]:
        self._stay_in_place(0)
        self._file.fold()
        return self._file.oldest(), self._file.quarantined()

    def _stay_in_place(self, under_way: int) -> None:
        """Move the file back to its path if it is displaced; `under_way` of its events are not settled yet."""
        if not self._file.displaced():
            return
        told = len(self._file.set_aside)
        try:
            totals = self._file.recover()
        finally:
            # What was put in the place meanwhile may be damaged.
            self._loop.call_soon_threadsafe(self.tell_damaged, self._file.set_aside[told:])
        self._loop.call_soon_threadsafe(self._recovered, totals, under_way)

    def _made_room(self) -> bool:
        # Trap: with the disk nearly full, the write-ahead log is far from the size at which SQLite checkpoints it.
        try:
            self._file.make_room()
        except sqlite3.Error:
            return False
        return True

    def _replace_if_damaged(self, error: BaseException) -> bool:
        if not (isinstance(error, sqlite3.Error) and is_damage(error)):
            return False
        try:
            aside = self._file.replace_damaged()
        except OSError:
            _log.exception("the damaged spool file cannot be replaced", extra=event("spool.damaged_not_replaced"))
            return False
        self._loop.call_soon_threadsafe(self._lost, aside)
        return True

    # And this on the loop again.

    def _recovered(self, totals: Totals, under_way: int) -> None:
        _log.error(
            "the spool file %s was removed or moved away, or its directory mounted over; it was made again with the %d "
            "events that it held, and nothing is lost",
            self._file.path,
            totals.events,
            extra=event("spool.recovered", events=totals.events),
        )
        self._metrics.spool_recovered_files.inc()
        self._generation += 1
        waiting = list(self._unsettled)[under_way:]
        self.events = totals.events + len(waiting)
        self.size = totals.size + _ROW_OVERHEAD * totals.events
        self.size += sum(len(ticket.body) + _ROW_OVERHEAD for ticket in waiting)
        if self.events:
            self.arrived.set()

    def _found(self, totals: Totals) -> None:
        opened = event("spool.opened", events=totals.events)
        _log.warning("the spool is open; it had %d events", totals.events, extra=opened)
        self.events += totals.events
        self.size += totals.size + _ROW_OVERHEAD * totals.events
        if self.events:
            self.arrived.set()

    def _works(self) -> None:
        if self.failing is not None:
            _log.warning("the spool can be written again", extra=event("spool.repaired"))
        self.failing = None

    def _stored(self, tickets: list[Ticket], error: Exception | None, took: float, appended: bool) -> None:  # noqa: FBT001 a callback
        self._metrics.spool_commit_seconds.observe(took)
        if error is None:
            self._works()
            self.arrived.set()
            for ticket in tickets:
                del self._unsettled[ticket]
                ticket.on_stored(None)
            return
        if self.failing is None:
            _log.error("the spool cannot be written: %s", error, extra=event("spool.not_written"))
        self.failing = str(error)
        self._metrics.spool_failures.inc()
        for ticket in tickets:
            del self._unsettled[ticket]
            if appended:
                # It is in an open file, although no restart would find it: the drain publishes it.
                self.arrived.set()
            else:
                self._forget(len(ticket.body))
            detail = "; the event may be stored" if appended else ""
            ticket.on_stored(NotStoredError(f"the spool cannot be written: {error}{detail}"))

    def _lost(self, aside: Path) -> None:
        self.tell_damaged([aside])
        # Settled events were in the damaged file; the rest goes into the new one.
        self._generation += 1
        self.events = len(self._unsettled)
        self.size = sum(len(ticket.body) + _ROW_OVERHEAD for ticket in self._unsettled)
