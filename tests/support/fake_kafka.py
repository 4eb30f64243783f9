"""A publisher, topics and a registry in memory, which do as they are told. They pass the contract of the real ones."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from bridge.delivery.publisher import Failure, OnReport, Report
from bridge.delivery.records import Record
from openbsp.errors import KafkaUnavailableError, RegistryError, TopicsError

IDS = {
    name: number
    for number, name in enumerate(
        ("MessageEvent", "ConversationEvent", "MessageState", "ConversationState", "StatusChange", "DeadLetter"), 1
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
        self.answers = True
        self.attempts = 0
        self._waiting: deque[tuple[FakePublisher, Record, OnReport]] = deque()

    def topic(self, name: str) -> list[Record]:
        """Return the records of a topic, in order."""
        return [record for record in self.log if record.topic.endswith(name)]

    def new_publisher(self, _: float = 1.0, __: Callable[[], None] = lambda: None) -> "FakePublisher":
        """Make a publisher, as service.Outside does."""
        return FakePublisher(self)

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

    def __init__(self, kafka: FakeKafka) -> None:
        self.loop = asyncio.get_running_loop()
        self._kafka = kafka
        self._closed = False

    def publish(self, record: Record, on_report: OnReport) -> None:
        self._kafka.take(self, record, on_report)

    def decide(self, record: Record, on_report: OnReport) -> None:
        if self._closed:
            return
        failure = self._kafka.verdict(record)
        if failure is not None:
            on_report(Report(record.topic, -1, -1, failure))
            return
        self._kafka.log.append(record)
        on_report(Report(record.topic, 0, len(self._kafka.topic(record.topic)) - 1))

    async def close(self, flush_s: float) -> None:  # noqa: ARG002 nothing is under way here
        self._closed = True


class FakeTopics:
    """See openbsp.kafka.topics.Topics. `faults` is raised as a TopicsError; not `available`: Kafka is down."""

    def __init__(self, faults: Iterable[str] = ()) -> None:
        self.faults = list(faults)
        self.available = True

    def check(self) -> None:
        if not self.available:
            raise KafkaUnavailableError("no broker answered")
        if self.faults:
            raise TopicsError(self.faults)


class FakeRegistry:
    """See openbsp.kafka.registry.Registry."""

    def __init__(self) -> None:
        self.available = True
        self.registered = True

    def ids(self) -> Mapping[str, int]:
        if not self.available:
            raise RegistryError("the registry does not answer", refused=False)
        if not self.registered:
            raise RegistryError("no such subject", refused=True)
        return IDS
