"""From the spool to Kafka: in order, removing only what Kafka acknowledged."""

import asyncio
import contextlib
import functools
import logging
import sqlite3
import time
from array import array
from codecs import BOM_UTF8
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from confluent_kafka import murmur2

from avro import instants, jsontext
from avro.catalogue import DELETE
from avro.identity import name_id
from bridge.delivery.ages import Ages
from bridge.delivery.items import DeadLetter, Event, Item, UnreadableError, unpack
from bridge.delivery.preparation import Preparation
from bridge.delivery.publisher import Failure, Publisher, Report
from bridge.delivery.records import Record, RecordMaker
from bridge.delivery.spool.file import StoredEvent, is_damage
from bridge.delivery.spool.spool import Spool
from bridge.metrics import Metrics
from bridge.suppressions.hashes import NOBODY, SUPPRESSED, SUPPRESSED_DETAIL, Suppressed, row_of
from openbsp.backoff import Backoff
from openbsp.log import event
from openbsp.threads import in_thread

_log = logging.getLogger(__name__)

#: Reasons of the dead letters that are made here: the event was accepted, and later turned out not to be publishable.
BROKER_REFUSED = "broker_refused"
SPOOL_AGE_LIMIT = "spool_age_limit"
_ORIGIN = "bridge"

_WINDOW_EVENTS = 500
#: Each event is in memory several times while it is published: as read, unpacked, as a record, in the producer.
_WINDOW_BYTES = 2 * 1024 * 1024
#: More than the 60 s after which a producer reports that a record was not acknowledged.
_REPORTS_S = 90.0
#: librdkafka's names for a record that no broker has taken in time. A producer is replaced before the time of its
#: records is over, as a rule, and drops them then.
_LATE = frozenset({"_MSG_TIMED_OUT", "_PURGE_QUEUE", "_PURGE_INFLIGHT"})
_NO_REPORT = Failure("NO_REPORT", f"the producer has reported nothing for {_REPORTS_S:g} s")
#: How long a pass waits for the topics to be verified again before it is given up, to begin with the first event later.
#: Brokers that answer so soon take events; what has failed is of some partitions or topics, and the others are not.
_VERIFIED_S = 10.0
_FIRST_RETRY_S = 0.2
_LONGEST_RETRY_S = 10.0


class _Published(NamedTuple):
    """Events of one read that were published: their numbers alone, as there may be a whole spool of them."""

    generation: int
    numbers: "array[int]"


class Drain:
    """Publishes the spool's events until it is empty, repeatedly.

    Unacknowledged events stay and are retried, and no later batch overtakes them with an event of the same key; with
    those of others it does, because a partition may take nothing for long. Events that the broker rejects permanently
    become dead letters; those rejected as dead letters too are quarantined.
    """

    def __init__(
        self,
        spool: Spool,
        publisher: Publisher,
        preparation: Preparation,
        *,
        partitions: int,
        max_age_s: float | None,
        refusal_grace_s: float,
        ages: Ages,
        skewed: Callable[[], bool],
        metrics: Metrics,
        suppressed: Suppressed = NOBODY,
        list_known: asyncio.Event | None = None,
    ) -> None:
        """Assemble; `run` does the work. `partitions` has each topic; `skewed`: whether this machine's clock is wrong.

        `list_known` is set once `suppressed` has been read from the topic: nothing is published before.
        """
        self._suppressed = suppressed
        self._list_known = list_known
        self._spool = spool
        self._publisher = publisher
        self._preparation = preparation
        self._partitions = partitions
        self._max_age_s = max_age_s
        self._grace_s = refusal_grace_s
        self._ages = ages
        self._skewed = skewed
        self._metrics = metrics
        self._held: set[bytes | None] = set()  # keys that failed in this pass: newer events must not overtake
        #: Partitions that took nothing of this pass in time: none of it is tried again, as that would take as long.
        self._shut: set[tuple[str, int]] = set()
        #: What the disk is too full to remove. It is removed in the order of publishing: what a kill leaves of it is
        #: published again, and nothing newer of its key may have gone before.
        self._done: deque[_Published] = deque()
        self._stuck = False  # an event of this pass can neither be published nor be quarantined
        self._fruitless = False  # the last pass ended before anything was taken
        self._unauthorized_since: dict[str, float] = {}
        self.last_failure: str | None = None
        #: How many events have left the spool: published, refused, or put into quarantine.
        self.gone = 0
        # Held while events read from the spool are in progress.
        self._in_work = asyncio.Lock()

    async def run(self) -> None:
        """Drain whenever something arrives; never returns."""
        while True:
            await self._spool.arrived.wait()
            await self._preparation.ready.wait()
            if self._list_known is not None:
                await self._list_known.wait()
            self._spool.arrived.clear()
            backoff = Backoff(_FIRST_RETRY_S, _LONGEST_RETRY_S)
            while not await self._pass():
                await backoff.wait()
                await self._preparation.ready.wait()

    async def erase(self, is_wanted: Callable[[bytes], bool]) -> int:
        """Remove matching events from the spool and its quarantine, to the last byte; return how many.

        Events are stored meanwhile; those read before are not published any more. Raises sqlite3.Error.
        """
        async with self._in_work:
            removed = 0
            last: StoredEvent | None = None
            while rows := await self._spool.read(last, _WINDOW_EVENTS, _WINDOW_BYTES):
                last = rows[-1]
                wanted = await _matching(rows, is_wanted)
                removed += await self._spool.erase(wanted)
                # Published events that await their removal are not counted.
                self._spool.forget(self._left(wanted))
            last = None
            while rows := await self._spool.read_quarantine(last, _WINDOW_BYTES):
                last = rows[-1]
                wanted = await _matching(rows, is_wanted)
                removed += await self._spool.erase(wanted, quarantined=True)
            await self._spool.squeeze()
        # Those that it held back are read again.
        self._spool.arrived.set()
        return removed

    async def _pass(self) -> bool:
        """Read the spool from its first event on. Returns whether it is empty now."""
        last: StoredEvent | None = None
        self._held.clear()
        self._shut.clear()
        self._stuck = False
        pass_over, self._fruitless = self._fruitless, False
        gone_before = self.gone
        try:
            while await self._verified():
                async with self._in_work:
                    rows = await self._spool.read(last, _WINDOW_EVENTS, _WINDOW_BYTES)
                    if not rows:
                        return await self._finish(last)
                    maker = self._preparation.maker
                    if maker is None:
                        continue
                    if not await self._window(self._left(rows), maker) and not pass_over:
                        # Trap: an outage that is over must not leave the oldest events to the end. They are tried once
                        # more before any is passed over.
                        self._fruitless = self.gone == gone_before
                        return False
                    last = rows[-1]
        except sqlite3.Error as error:
            _log.error("draining paused, the spool cannot be used: %s", error, extra=event("spool.drain_paused"))
            self.last_failure = f"spool: {error}"
        return False

    async def _finish(self, last: StoredEvent | None) -> bool:
        """End a pass after its last event; return whether the spool is empty."""
        await self._remove([])
        # Trap: starting over removes everything in the file.
        left = bool(self._held) or self._stuck
        if self._done and not left and await self._spool.start_over(last):
            self._done.clear()
        if self._done or left:
            return False
        self.last_failure = None
        await self._spool.shrink()
        return True

    async def _verified(self) -> bool:
        """Wait until events may be published again, but no longer than for brokers that answer. Returns whether."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_VERIFIED_S):
                await self._preparation.ready.wait()
        return self._preparation.ready.is_set()

    async def _window(self, rows: list[StoredEvent], maker: RecordMaker) -> bool:
        """Publish some events, as far as they can be. Returns whether any was taken, or none had to be."""
        batch = []
        for row in rows:
            try:
                item = self._by_age(self._unsuppressed(unpack(row.body)), maker)
                record = maker.record(item)
            except UnreadableError as error:
                await self._quarantine(row, f"unreadable: {error}")
                continue
            except Exception as error:  # noqa: BLE001 whatever it is, the others must not wait for it
                # Trap: an event spooled before the schema ids are known is encoded here for the first time.
                failed = event("spool.event_not_encoded", seq=row.seq)
                _log.exception("spooled event %d cannot be encoded", row.seq, extra=failed)
                await self._quarantine(row, f"cannot be encoded: {type(error).__name__}")
                continue
            if not self._is_held(record):
                batch.append((row, item, record))
        gone = await self._gone(batch, maker)
        await self._remove(gone)
        return bool(gone) or not batch

    async def _gone(self, batch: list[tuple[StoredEvent, Item, Record]], maker: RecordMaker) -> list[StoredEvent]:
        """Publish events; return those that are in their topics, or have become dead letters."""
        reports = await self._publish([record for _, _, record in batch])
        gone = []
        late: set[bytes | None] = set()  # keys of which an event was published once more, behind those after it
        for (row, item, record), report in zip(batch, reports, strict=True):
            if report.failure is None:
                self._unauthorized_since.pop(record.topic, None)
                if record.key is not None and (record.key in self._held or record.key in late):
                    # It overtook an older event of its key: it is published once more, behind that one.
                    self._held.add(record.key)
                else:
                    self._count(item)
                    gone.append(row)
            elif self._is_refusal(record, report.failure) and (record.key is None or not self._is_held(record)):
                if await self._refused(row, item, record, maker, late):
                    gone.append(row)
            else:
                self._hold(record, report.failure)
                # Trap: a topic may have another number of partitions by now, so only both together say which it is.
                place = (record.topic, report.partition)
                if report.failure.error in _LATE and place == self._place(record):
                    self._shut.add(place)
        return gone

    async def _refused(
        self, row: StoredEvent, item: Item, record: Record, maker: RecordMaker, late: set[bytes | None]
    ) -> bool:
        """Make a dead letter of an event that the broker rejected. Returns whether either was published.

        If the event itself was, its key is added to `late`.
        """
        # Trap: a broker rejects whole batches, so a rejection counts only for a record that was alone in its batch.
        (report,) = await self._publish([record])
        if report.failure is None:
            late.add(record.key)
            self._count(item)
            return True
        if not self._is_refusal(record, report.failure):
            self._hold(record, report.failure)
            return False
        failure = report.failure
        if isinstance(item, Event):
            # Its contact may have been erased since it was judged.
            letter = self._unsuppressed(item)
            if letter is item:
                letter = _dead_letter(item, BROKER_REFUSED, f"{failure.error}: {failure.detail}", record)
            (report,) = await self._publish([maker.record(letter)])
            if report.failure is None:
                _log.error(
                    "Kafka refuses event %s (%s): written as a dead letter",
                    item.event_id,
                    failure.error,
                    extra=event("spool.event_refused", event_id=item.event_id, failure=failure.error),
                )
                self._count(letter)
                return True
            if not (report.failure.for_good or report.failure.unauthorized):
                self._hold(record, report.failure)
                return False
        if not await self._quarantine(
            row, f"refused by Kafka, as its dead letter is: {failure.error}: {failure.detail}"
        ):
            self._hold(record, failure)
        return False

    async def _quarantine(self, row: StoredEvent, why: str) -> bool:
        try:
            await self._spool.quarantine(row, why)
        except sqlite3.Error as error:
            failed = event("spool.event_not_quarantined", seq=row.seq)
            _log.error("spooled event %d cannot be quarantined: %s", row.seq, error, extra=failed)
            self._stuck = True
            self.last_failure = f"spool: an event cannot be moved to quarantine: {error}"
            return False
        self.gone += 1
        quarantined = event("spool.event_quarantined", seq=row.seq)
        _log.error("spooled event %d quarantined: %s", row.seq, why, extra=quarantined)
        return True

    def _unsuppressed(self, item: Item) -> Item:
        """Return the item, or a dead letter with ids only if its contact is suppressed, or may be for what it tells."""
        if isinstance(item, DeadLetter):
            told, payload = item.fields, item.fields["payload"]
            if payload is None or not self._suppressed.active:
                return item
            if self._suppressed.may_have(told["entity"], _row_in(payload)):
                told["payload"] = None
                told["event_id"] = item.event_id = _bare_id(
                    told["entity"], told["action"], item.received_at, told["key"]
                )
            return item
        if item.action == DELETE or not self._suppressed.has(item.entity.name, item.row):
            return item
        bare_id = _bare_id(item.entity.name, item.action, item.received_at, item.id)
        return _dead_letter(item, SUPPRESSED, SUPPRESSED_DETAIL, event_id=bare_id)

    def _by_age(self, item: Item, maker: RecordMaker) -> Item:
        """Return the item, or a dead letter if the event is too old."""
        if self._max_age_s is None or not isinstance(item, Event) or self._skewed():
            return item
        age_s = self._ages.age_s(item.received_at)
        if age_s <= self._max_age_s:
            return item
        return _dead_letter(item, SPOOL_AGE_LIMIT, f"{age_s:.0f} s in the spool", maker.record(item))

    def _is_held(self, record: Record) -> bool:
        """Return whether it waits for the next pass, as an older one of its key does, or any of its partition."""
        return record.key in self._held or self._place(record) in self._shut

    def _place(self, record: Record) -> tuple[str, int] | None:
        """Return the partition of a record, as the producer computes it; None without a key."""
        return None if record.key is None else (record.topic, murmur2(record.key, self._partitions))

    def _is_refusal(self, record: Record, failure: Failure) -> bool:
        if failure.unauthorized:
            since = self._unauthorized_since.setdefault(record.topic, time.monotonic())
            return time.monotonic() - since >= self._grace_s
        return failure.for_good

    def _hold(self, record: Record, failure: Failure) -> None:
        self._held.add(record.key)
        self.last_failure = f"{failure.error}: {failure.detail}"
        self._preparation.doubt()
        self._metrics.publish_failures.labels(failure.error).inc()

    def _count(self, item: Item) -> None:
        if isinstance(item, DeadLetter) and item.fields["origin"] == _ORIGIN:
            self._metrics.dead_letters.labels(item.fields["reason"]).inc()
            self._metrics.spool_drained.labels("dead_letter").inc()
        else:
            self._metrics.spool_drained.labels("published").inc()

    async def _remove(self, rows: list[StoredEvent]) -> None:
        """Remove events of one read from the disk; if it is too full, remember not to publish them again."""
        self.gone += len(rows)
        self._spool.forget(rows)
        if rows:
            self._done.append(_Published(rows[0].generation, array("q", (row.seq for row in rows))))
        try:
            while self._done:
                generation, numbers = self._done[0]
                await self._spool.remove([StoredEvent(number, 0, b"", generation) for number in numbers])
                self._done.popleft()
        except sqlite3.Error as error:
            if is_damage(error):
                raise
            _log.warning(
                "published events cannot be removed from the spool yet: %s", error, extra=event("spool.not_removed")
            )

    def _left(self, rows: list[StoredEvent]) -> list[StoredEvent]:
        """Return those events of one read that were not published yet."""
        if not (rows and self._done):
            return rows
        first, last, generation = rows[0].seq, rows[-1].seq, rows[0].generation
        done: set[int] = set()
        for of, numbers in self._done:
            if of == generation and numbers[0] <= last and numbers[-1] >= first:
                done.update(numbers)
        return [row for row in rows if row.seq not in done]

    async def _publish(self, records: list[Record]) -> list[Report]:
        """Return a report for each record, once all have one; after _REPORTS_S, those that are missing are failures."""
        reports: list[Report | None] = [None] * len(records)
        missing = len(records)
        complete = asyncio.get_running_loop().create_future()

        def collect(index: int, report: Report) -> None:
            nonlocal missing
            reports[index] = report
            missing -= 1
            if missing == 0 and not complete.done():
                complete.set_result(None)

        for index, record in enumerate(records):
            self._publisher.publish(record, functools.partial(collect, index))
        if records:
            try:
                async with asyncio.timeout(_REPORTS_S):
                    await complete
            except TimeoutError:
                _log.error(
                    "the producer has reported nothing about %d spooled events for %.0f s: they stay in the spool and "
                    "are published again by a new producer",
                    missing,
                    _REPORTS_S,
                    extra=event("spool.not_reported", events=missing),
                )
                self._publisher.renew()
        return [
            report or Report(record.topic, -1, -1, _NO_REPORT) for record, report in zip(records, reports, strict=True)
        ]


def _bare_id(*names: object) -> str:
    """Return an id made from ids: as for a refused webhook, one derived from the content would be its fingerprint.

    Trap: a random one would be another at each attempt, and make a letter that is published twice two of them.
    """
    return name_id("\n".join(map(str, names)).encode())


def _row_in(body: bytes) -> object:
    """Return the row in the body of a webhook that was refused; None if there is none to be read."""
    try:
        envelope = jsontext.decode(body.removeprefix(BOM_UTF8))
    except (jsontext.MalformedJsonError, RecursionError):
        return None
    return row_of(envelope)


def _dead_letter(
    event: Event, reason: str, detail: str, record: Record | None = None, *, event_id: str | None = None
) -> DeadLetter:
    """Return the dead letter of an event, with its record as the payload if there is one, else with ids only."""
    return DeadLetter(
        event_id or event.event_id,
        reason,
        detail,
        instants.now(),
        origin=_ORIGIN,
        entity=event.entity.name,
        action=event.action,
        key=event.id,
        organization_id=event.organization_id,
        topic=None if record is None else record.topic,
        payload=None if record is None else record.value,
        payload_size=None if record is None else len(record.value),
        redriven=event.redriven,
        organizations=event.organizations,
        traceparent=event.traceparent,
    )


async def _matching(rows: list[StoredEvent], is_wanted: Callable[[bytes], bool]) -> list[StoredEvent]:
    # Trap: parsing large ones takes long. It would block the spool's thread, or the loop.
    return await in_thread(lambda: [row for row in rows if is_wanted(row.body)])
