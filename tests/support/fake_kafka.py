"""A publisher, topics and a registry in memory, which do as they are told. They pass the contract of the real ones."""

import asyncio
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from avro.codec import Decoder
from avro.schemas import latest
from bridge.delivery.publisher import Failure, OnReport, Report
from bridge.delivery.records import Record
from openbsp.errors import KafkaUnavailableError, RegistryError
from openbsp.kafka.findings import Finding, Grade, Inspection

IDS = {
    name: number
    for number, name in enumerate(
        (
            "MessageEvent",
            "ConversationEvent",
            "MessageState",
            "ConversationState",
            "StatusChange",
            "DeadLetter",
            "ContactEvent",
            "ContactAddressEvent",
        ),
        1,
    )
}

TIMED_OUT = Failure("_MSG_TIMED_OUT", "Local: Message timed out")
TOO_LARGE = Failure("MSG_SIZE_TOO_LARGE", "Broker: Message size too large", for_good=True)
UNAUTHORIZED = Failure("TOPIC_AUTHORIZATION_FAILED", "Broker: Topic authorization failed", unauthorized=True)

Verdict = Callable[[Record], Failure | None]


class FakeKafka:
    """A cluster: what its publishers were given and acknowledged is in `log`, in order.

    `verdict` decides about each record; while `answers` is False, records wait, and get their verdict later.
    """

    def __init__(self) -> None:
        self.log: list[Record] = []
        self.verdict: Verdict = lambda _: None
        #: The partition of a record that failed, as reports tell it; negative: unknown.
        self.failed_in: Callable[[Record], int] = lambda _: -1
        self.answers = True
        self.attempts = 0
        #: Seconds by which the brokers' clock is ahead of this machine's.
        self.clock_ahead_s = 0.0
        self.publishers: list[FakePublisher] = []
        self._waiting: deque[tuple[FakePublisher, Record, OnReport]] = deque()

    def topic(self, name: str) -> list[Record]:
        """Return the records of a topic, in order."""
        return [record for record in self.log if record.topic.endswith(name)]

    def new_publisher(
        self,
        timeout_s: float = 1.0,
        _: Callable[[], None] = lambda: None,
        on_appended: Callable[[int], None] = lambda _: None,
    ) -> "FakePublisher":
        """Make a publisher, as service.Outside does."""
        return FakePublisher(self, timeout_s, on_appended)

    def stop_answering(self) -> None:
        """Go on taking records, but report nothing."""
        self.answers = False

    def answer(self) -> None:
        """Report about everything that waits, and from now on at once. Call from any thread."""
        self.answers = True
        while self._waiting:
            publisher, record, on_report = self._waiting.popleft()
            publisher.loop.call_soon_threadsafe(publisher.decide, record, on_report)

    def take(self, publisher: "FakePublisher", record: Record, on_report: OnReport) -> None:
        """Take a record of a publisher."""
        self.attempts += 1
        if self.answers:
            publisher.loop.call_soon(publisher.decide, record, on_report)
        else:
            self._waiting.append((publisher, record, on_report))


class FakePublisher:
    """See bridge.delivery.publisher.Publisher."""

    def __init__(self, kafka: FakeKafka, timeout_s: float, on_appended: Callable[[int], None]) -> None:
        self.timeout_s = timeout_s
        self.loop = asyncio.get_running_loop()
        self._on_appended = on_appended
        self._kafka = kafka
        self._closed = False
        kafka.publishers.append(self)
        self.renewed = 0

    def publish(self, record: Record, on_report: OnReport) -> None:
        self._kafka.take(self, record, on_report)

    def decide(self, record: Record, on_report: OnReport) -> None:
        if self._closed:
            return
        failure = self._kafka.verdict(record)
        if failure is not None:
            on_report(Report(record.topic, self._kafka.failed_in(record), -1, failure))
            return
        self._kafka.log.append(record)
        self._on_appended(int((time.time() + self._kafka.clock_ahead_s) * 1000))
        on_report(Report(record.topic, 0, len(self._kafka.topic(record.topic)) - 1))

    def renew(self) -> None:
        self.renewed += 1

    def close(self) -> None:
        self._closed = True


class FakeTopics:
    """See openbsp.kafka.topics.Topics. `faults` are what is wrong with the messages; not `available`: Kafka is down."""

    def __init__(self, faults: Iterable[str] = ()) -> None:
        self.faults = list(faults)
        self.others: list[Finding] = []
        self.identities = {"messages": "first"}
        self.available = True
        self.looks = 0

    def inspect(self) -> Inspection:
        self.looks += 1
        if not self.available:
            raise KafkaUnavailableError("no broker answered")
        wrong = [Finding("messages", Grade.WRONG, fault) for fault in self.faults]
        return Inspection((*wrong, *self.others), dict(self.identities))


class FakeRegistry:
    """See openbsp.kafka.registry.Registry."""

    def __init__(self) -> None:
        self.patience_s = 120.0
        self.available = True
        self.registered = True
        self.known: Mapping[str, int] = IDS
        #: Ids that other teams' schemas have now.
        self.taken: set[int] = set()

    def ids(self) -> Mapping[str, int]:
        self._answer()
        if not self.registered:
            raise RegistryError("no such subject", refused=True, absent=True)
        return self.known

    def mismatched(self, ids: Mapping[str, int]) -> list[str]:
        self._answer()
        return [f"id {number} of {name} is another schema" for name, number in ids.items() if number in self.taken]

    def _answer(self) -> None:
        if not self.available:
            raise RegistryError("the registry does not answer", refused=False)


class FakeSuppressions:
    """The topic of suppressions, as bridge.suppressions.watch.Changes reads it.

    `entries` are all that it has, with the ids of their keys ("": unknown), lifted ones as None; None in `news` has it
    read again.
    """

    def __init__(self, *hashes: str, error: Exception | None = None) -> None:
        self.entries: dict[str, str | None] = dict.fromkeys(hashes, "")
        #: Raised instead of the first answer, while it is set.
        self.error = error
        self.news: queue.Queue[dict[str, str | None] | None] = queue.Queue()

    def __call__(self) -> Iterator[Mapping[str, str | None]]:
        if self.error is not None:
            raise self.error
        yield self.entries
        while True:
            try:
                news = self.news.get(timeout=0.02)
            except queue.Empty:
                news = {}
            if news is None:
                return
            yield news


def letters(kafka: FakeKafka) -> list[dict[str, Any]]:
    """Return the dead letters that a cluster has, decoded."""
    decoder = Decoder("DeadLetter")
    decoder.learn(IDS["DeadLetter"], latest("DeadLetter").text)
    return [decoder.decode(record.value) for record in kafka.topic("dead-letters")]
