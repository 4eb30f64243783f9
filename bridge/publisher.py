"""Records to Kafka, and Kafka's word about each of them back to the event loop."""

import asyncio
import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from avro.catalogue import MAX_MESSAGE_BYTES
from avro.connection import Config
from bridge.records import Record

_log = logging.getLogger(__name__)
_librdkafka = logging.getLogger("librdkafka")

_POLL_S = 0.2
#: A cluster that rejects each new producer at once is not asked more often than this.
_REPLACE_EVERY_S = 5.0
_QUEUE_MESSAGES = 100_000
_QUEUE_KIBIBYTES = 256 * 1024

#: What waiting does not mend. A missing topic does not count: it may be made again.
_FOR_GOOD = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE, KafkaError.INVALID_RECORD})
_UNAUTHORIZED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})


class Failure(NamedTuple):
    """Why a record was not acknowledged. It may have reached the topic nevertheless."""

    error: str
    detail: str
    for_good: bool = False
    unauthorized: bool = False


class Report(NamedTuple):
    """Kafka's word about a record: where it is, or why it is not acknowledged."""

    topic: str
    partition: int
    offset: int
    failure: Failure | None = None


OnReport = Callable[[Report], None]


class Publisher(Protocol):
    """Takes records; answers for each of them once, on the event loop, in no promised order."""

    def publish(self, record: Record, on_report: OnReport) -> None:
        """Hand over a record. Never waits, never raises: a full queue is a report as well."""

    async def close(self, flush_s: float) -> None:
        """Wait up to `flush_s` seconds for what is under way, then give up. No reports come after it."""


def producer_config(connection: Config, message_timeout_s: float) -> dict[str, Any]:
    """Return the configuration of a producer that acknowledges only what all in-sync replicas have."""
    return {
        **connection,
        "acks": "all",
        "enable.idempotence": True,
        # The partitioner of the Java clients, so that everyone finds a key in the same partition.
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "linger.ms": 1,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "message.timeout.ms": int(message_timeout_s * 1000),
        "queue.buffering.max.messages": _QUEUE_MESSAGES,
        "queue.buffering.max.kbytes": _QUEUE_KIBIBYTES,
        # A broker that comes back is found soon: the default is to wait up to 10 s between attempts.
        "reconnect.backoff.max.ms": 1000,
        "log.connection.close": False,
    }


class KafkaPublisher:
    """A librdkafka producer. Its reports are collected in a thread and handed to the event loop in batches."""

    def __init__(self, config: dict[str, Any], on_replaced: Callable[[], None] = lambda: None) -> None:
        """Start the producer. `config` as from `producer_config`; `on_replaced` is told of fatal errors."""
        self._config = config
        self._on_replaced = on_replaced
        self._loop = asyncio.get_running_loop()
        self._reports: deque[tuple[OnReport, KafkaError | None, str, int, int]] = deque()
        self._wakeup_pending = False
        self._fatal = False
        self._replaceable_at = 0.0
        self._closing = False
        self._producer = self._new_producer()
        self._thread = threading.Thread(target=self._poll, name="delivery-reports", daemon=True)
        self._thread.start()

    def publish(self, record: Record, on_report: OnReport) -> None:
        """Hand over a record; see Publisher."""
        try:
            self._producer.produce(
                record.topic,
                record.value,
                record.key,
                on_delivery=functools.partial(self._collect, on_report),
                headers=list(record.headers),
            )
        except BufferError:
            report = Report(record.topic, -1, -1, Failure("_QUEUE_FULL", "the producer's queue is full"))
        except KafkaException as error:
            report = Report(record.topic, -1, -1, _failure(error.args[0]))
        else:
            return
        self._loop.call_soon(on_report, report)

    async def close(self, flush_s: float) -> None:
        """Flush for up to `flush_s` seconds; see Publisher."""
        await asyncio.to_thread(self._producer.flush, flush_s)
        self._closing = True
        self._producer.purge()
        await asyncio.to_thread(self._thread.join)
        self._hand_over()

    def _new_producer(self) -> Producer:
        return Producer({**self._config, "error_cb": self._on_error}, logger=_librdkafka)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = True

    def _collect(self, on_report: OnReport, error: KafkaError | None, message: Message) -> None:
        # In the thread that polls. Objects of librdkafka end here: only what is needed goes on.
        self._reports.append((on_report, error, message.topic() or "", message.partition() or 0, message.offset() or 0))

    def _poll(self) -> None:
        while not self._closing:
            self._producer.poll(_POLL_S)
            self._wake_loop()
            if self._fatal and time.monotonic() >= self._replaceable_at:
                self._replace()
        self._producer.poll(0)

    def _wake_loop(self) -> None:
        if self._reports and not self._wakeup_pending:
            self._wakeup_pending = True
            self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        # The flag falls first: what is appended from here on either is seen below or wakes the loop again.
        self._wakeup_pending = False
        reports = self._reports
        while reports:
            on_report, error, topic, partition, offset = reports.popleft()
            on_report(Report(topic, partition, offset, None if error is None else _failure(error)))

    def _replace(self) -> None:
        _log.error("the producer met a fatal error and is replaced; what it had goes to the spool")
        former, self._producer = self._producer, self._new_producer()
        self._fatal = False
        self._replaceable_at = time.monotonic() + _REPLACE_EVERY_S
        former.purge()
        former.flush(1.0)
        self._wake_loop()
        self._on_replaced()


def _failure(error: KafkaError) -> Failure:
    code = error.code()
    return Failure(error.name(), error.str(), code in _FOR_GOOD, code in _UNAUTHORIZED)
