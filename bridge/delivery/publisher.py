"""Sends records to Kafka, and returns the delivery report of each to the event loop."""

import asyncio
import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer

from bridge.delivery.records import Record
from openbsp.kafka import clients, reports
from openbsp.kafka.connection import Config
from openbsp.log import event

_log = logging.getLogger(__name__)

_TICK_S = 0.001
_IDLE_S = 0.2
#: Longest wait for the acknowledgements of a batch before the next one is sent nevertheless.
_PATIENCE_S = 0.02
#: With no more records in flight than these, the loop waits in librdkafka for a report, a tick at a time.
_FEW = 8
#: Pause between new producers if a cluster rejects each at once.
_REPLACE_EVERY_S = 5.0
#: A producer without any acknowledgement for so long is replaced, its successor after twice as long, and on until one
#: is answered: where brokers take longer, each replacement has them write the same records once more. Brokers that are
#: well take seconds at most, also while a leader moves; and what waits here is in the spool, or gets there.
_SILENT_S, _LONGEST_SILENCE_S = 30.0, 480.0
#: How long what a replaced producer had is waited for before newer records are sent: its threads report it, and one of
#: them may be resolving a name for seconds. By then what requests wait for is in the spool.
_PURGE_S = 5.0
_QUEUE_MESSAGES = 100_000
_QUEUE_KIBIBYTES = 256 * 1024

#: Permanent errors. A missing topic is none: it may be recreated.
_FOR_GOOD = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE, KafkaError.INVALID_RECORD})
_UNAUTHORIZED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})


class Failure(msgspec.Struct, frozen=True):
    """Why a record was not acknowledged. It may have reached the topic nevertheless."""

    error: str
    detail: str
    for_good: bool = False
    unauthorized: bool = False


#: Why a record was not sent that waited behind others: one of its key may be in the spool now.
_BEHIND = Failure("BEHIND_FAILED", "a record before it was not acknowledged, or the producer was replaced")


class Report(msgspec.Struct, frozen=True, gc=False):
    """A delivery report: the record's offset, or why it is not acknowledged."""

    topic: str
    partition: int
    offset: int
    failure: Failure | None = None


OnReport = Callable[[Report], None]


class Publisher(Protocol):
    """Sends records; reports each of them once, on the event loop, in no promised order."""

    def publish(self, record: Record, on_report: OnReport) -> None:
        """Send a record. Never waits, never raises: a full queue is reported as well."""

    def renew(self) -> None:
        """Start over: topics were recreated, or have other partitions, or there was no report."""

    def close(self) -> None:
        """Give up the records in flight. No reports follow."""


def producer_config(connection: Config, message_timeout_s: float) -> dict[str, Any]:
    """Return the configuration of a producer that acknowledges only what all in-sync replicas have.

    `connection` as from KafkaSettings.producer.
    """
    return clients.producer_config(
        connection,
        message_timeout_s=message_timeout_s,
        # Records are batched already, and librdkafka spins for the rest of a short linger.
        linger_ms=0,
        queue_messages=_QUEUE_MESSAGES,
        queue_kibibytes=_QUEUE_KIBIBYTES,
    )


class KafkaPublisher:
    """A librdkafka producer, polled by the event loop: at once if it was idle, else every millisecond.

    It gets records in batches: those that arrived while the previous batch was in flight. The first record of a batch
    wakes its threads, which costs more than the rest; and a thread of it spins while more requests are queued for a
    broker than may be in flight (five, for an idempotent producer). Reports are polled each time: a thread that waits
    for them would have to take the interpreter's lock from the busy loop, up to 5 ms each time. With few records in
    flight the loop itself waits for the report, which comes before a timer would: at most a tick, and at most until the
    batch's time limit, so that requests wait no longer than for the timer of a busy loop.

    A producer to which no broker has answered for _SILENT_S is replaced: librdkafka can lose its last broker for good
    (docs/decisions/0242). That is done once for what it was given, also if all of it was reported as late meanwhile, so
    that the next record finds a producer that has connected.

    What was not handed to a producer before it is replaced, or before a record is reported as not acknowledged, is
    reported as not acknowledged as well, after all that the producer had: within a key, nothing newer is sent before
    what goes to the spool.
    """

    def __init__(
        self,
        config: dict[str, Any],
        on_replaced: Callable[[], None] = lambda: None,
        on_appended: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Start the producer. `config` as from `producer_config`; `on_replaced` is called when it was replaced.

        `on_appended` is called for some of the acknowledged records with the time at which their broker appended them,
        in milliseconds since the epoch by the broker's clock.
        """
        self._on_appended = on_appended
        self._sampled = False
        self._config = config
        self._on_replaced = on_replaced
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Record, OnReport]] = deque()
        self._under_way = 0
        self._patient_until = 0.0
        #: Since when records wait for a broker's answer, None if none does; and whether there was one in this tick.
        self._silent_since: float | None = None
        self._silence_s = _SILENT_S
        self._answered = False
        #: Why the producer can no longer publish, None while it can.
        self._fatal: str | None = None
        #: The latest offset reported to this producer, by topic and partition.
        self._offsets: dict[tuple[str, int], int] = {}
        #: Whether one was not above that: a partition that has lost its end goes on below it, and its records would
        #: count as not acknowledged, however often they are published, until it has grown.
        self._went_back = False
        self._replaceable_at = 0.0
        #: Until when nothing is handed over, because a replaced producer has records to report. What waits is given
        #: back then; None if nothing has to be.
        self._held_until: float | None = None
        self._closed = False
        self._retired: list[Producer] = []
        self._producer = self._new_producer()
        self._timer = self._loop.call_later(_IDLE_S, self._tick)
        self._busy = False

    def publish(self, record: Record, on_report: OnReport) -> None:
        """Send a record; see Publisher."""
        self._waiting.append((record, on_report))
        if not self._busy:
            self._busy = True
            self._timer.cancel()
            self._timer = self._loop.call_later(0, self._tick)

    def _hand_over(self) -> None:
        self._patient_until = time.monotonic() + _PATIENCE_S
        waiting = self._waiting
        for _ in range(len(waiting)):
            # One by one: if one of them raises, the others are still in the queue.
            record, on_report = waiting.popleft()
            topic, key, value, headers = record
            try:
                self._producer.produce(
                    topic,
                    value,
                    key,
                    on_delivery=functools.partial(self._deliver, on_report, self._offsets),
                    headers=headers,  # type: ignore[arg-type]  # a list is invariant
                )
            except BufferError:
                on_report(Report(topic, -1, -1, Failure("_QUEUE_FULL", "the producer's queue is full")))
            except KafkaException as error:
                if error.args[0].code() == KafkaError._FATAL:  # noqa: SLF001 the code's public name
                    self._fatal = error.args[0].str()
                    waiting.appendleft((record, on_report))
                    return
                on_report(Report(topic, -1, -1, _failure(error.args[0])))
            else:
                self._under_way += 1
                if self._silent_since is None:
                    self._silent_since = self._patient_until - _PATIENCE_S

    def renew(self) -> None:
        """Make a new producer: librdkafka caches a topic's former partitions for minutes; see Publisher."""
        _log.warning(
            "the producer is replaced, because topics were created or repaired, offsets went back, or it gave no "
            "report; its unacknowledged events go to the spool",
            extra=event("producer.renewed"),
        )
        self._replace()

    def close(self) -> None:
        """See Publisher."""
        self._closed = True
        self._timer.cancel()
        # librdkafka reports purged records to its caller: without this it would wait for them.
        for producer in (self._producer, *self._retired):
            producer.purge()
            producer.poll(0)

    def _new_producer(self) -> Producer:
        # Trap: a former producer may still report records of the former topics, with their offsets, and its errors.
        offsets: dict[tuple[str, int], int] = {}
        on_error = functools.partial(self._on_error, offsets)
        producer = Producer({**self._config, "error_cb": on_error}, logger=clients.LIBRDKAFKA)
        self._offsets = offsets
        return producer

    def _on_error(self, offsets: dict[tuple[str, int], int], error: KafkaError) -> None:
        if offsets is self._offsets and error.fatal():
            self._fatal = error.str()

    def _tick(self) -> None:
        few = False
        try:
            self._replace_if_silent()
            held = self._held_until is not None or self._fatal is not None
            if self._waiting and not held and (not self._under_way or time.monotonic() >= self._patient_until):
                self._hand_over()
            self._sampled = False
            few = 0 < self._under_way <= _FEW and time.monotonic() < self._patient_until
            self._producer.poll(_TICK_S if few else 0)
            if self._answered:
                self._answered = False
                self._silent_since = time.monotonic() if self._under_way else None
                self._silence_s = _SILENT_S
            self._poll_retired()
            if self._held_until is not None and (not self._under_way or time.monotonic() >= self._held_until):
                self._held_until = None
                for _ in range(len(self._waiting)):
                    record, on_report = self._waiting.popleft()
                    on_report(Report(record.topic, -1, -1, _BEHIND))
            if self._fatal is not None and time.monotonic() >= self._replaceable_at:
                _log.error(
                    "the producer is replaced after a fatal error (%s); its unacknowledged events go to the spool",
                    self._fatal,
                    extra=event("producer.fatal"),
                )
                self._replace()
            if self._went_back and time.monotonic() >= self._replaceable_at:
                self.renew()
        finally:
            # Even if a callback raised, the next reports are polled.
            self._busy = self._under_way > 0 or bool(self._waiting)
            self._timer = self._loop.call_later((0 if few else _TICK_S) if self._busy else _IDLE_S, self._tick)

    def _poll_retired(self) -> None:
        if not self._retired:
            return
        spent = [producer for producer in self._retired if _is_spent(producer)]
        self._retired = [producer for producer in self._retired if producer not in spent]
        if spent:
            # Trap: closing a producer waits for its threads, of which one may be resolving a name for seconds. It is
            # closed where its last reference is dropped, so that no name here may be left with one.
            threading.Thread(target=spent.clear, name="producer-close", daemon=True).start()

    def _deliver(
        self, on_report: OnReport, offsets: dict[tuple[str, int], int], error: KafkaError | None, message: Message
    ) -> None:
        self._under_way -= 1
        if self._closed:
            return
        # Trap: the reports of a former producer say nothing of this one, and librdkafka's own errors are below 0.
        if offsets is self._offsets and (error is None or error.code() > 0):
            self._answered = True
        topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
        if error is None and not self._sampled:
            self._sampled = True
            kind, stamp = message.timestamp()
            if kind == TIMESTAMP_LOG_APPEND_TIME:
                self._on_appended(stamp)
        if error is not None:
            failure: Failure | None = _failure(error)
        elif reports.is_unwritten(message):
            failure = Failure("NO_OFFSET", f"{topic}: {reports.UNWRITTEN}")
        else:
            failure = _went_back(offsets, topic, partition, offset)
            self._went_back |= failure is not None and offsets is self._offsets
        if failure is not None and offsets is self._offsets and self._held_until is None:
            self._held_until = time.monotonic()
        on_report(Report(topic, partition, offset, failure))

    def _replace_if_silent(self) -> None:
        since = self._silent_since
        if since is None or self._fatal is not None:
            return
        seconds = time.monotonic() - since
        if seconds >= self._silence_s:
            self._silence_s = min(2 * self._silence_s, _LONGEST_SILENCE_S)
            _log.warning(
                "the producer is replaced: it was given records, and for %.0f s no broker has acknowledged or refused "
                "one. Its unacknowledged events go to the spool, and are published from there by a new one",
                seconds,
                extra=event("producer.silent", silent_s=round(seconds, 1)),
            )
            self._replace()

    def _replace(self) -> None:
        now = time.monotonic()
        self._replaceable_at = now + _REPLACE_EVERY_S
        # Trap: in confluent-kafka it is the default that does not wait for what is purged.
        self._producer.purge()
        if self._under_way:
            self._held_until = now + _PURGE_S
        try:
            producer = self._new_producer()
        except KafkaException as error:
            self._fatal = str(error)
            self._held_until = now + _PURGE_S
            _log.error(
                "no new producer could be made, next attempt in %.0f s: %s",
                _REPLACE_EVERY_S,
                error,
                extra=event("producer.not_replaced"),
            )
            return
        self._retired.append(self._producer)
        self._producer = producer
        self._fatal = None
        self._went_back = False
        self._silent_since, self._answered = None, False
        self._on_replaced()


def _is_spent(producer: Producer) -> bool:
    """Return whether a producer has nothing more to report, once it has reported what it can."""
    producer.poll(0)
    return not len(producer)


def _failure(error: KafkaError) -> Failure:
    code = error.code()
    return Failure(error.name(), error.str(), code in _FOR_GOOD, code in _UNAUTHORIZED)


def _went_back(offsets: dict[tuple[str, int], int], topic: str, partition: int, offset: int) -> Failure | None:
    # Trap: if a topic is deleted and recreated within a moment, the producer goes on without an error. Its records may
    # be in a topic of another policy, or in a partition of another count.
    at = (topic, partition)
    if offset > offsets.get(at, -1):
        offsets[at] = offset
        return None
    return Failure("TOPIC_CREATED_AGAIN", f"{topic}: offsets of partition {partition} went back to {offset}")
