"""The publisher: the fake keeps the contract, and the real one gets over fatal errors."""

import asyncio
import contextlib
import functools
import itertools
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import pytest
from confluent_kafka import KafkaError, KafkaException

from avro.catalogue import MAX_MESSAGE_BYTES
from bridge.delivery import publisher as module
from bridge.delivery.publisher import KafkaPublisher, Publisher, Report, producer_config
from bridge.delivery.records import Record
from openbsp.kafka.connection import KafkaSettings
from support.fake_kafka import TOO_LARGE, FakeKafka
from support.publisher_contract import Opened, PublisherContract


class TestFakePublisher(PublisherContract):
    @pytest.fixture
    def opened(self) -> Opened:
        @contextlib.asynccontextmanager
        async def open_it() -> AsyncIterator[Publisher]:
            kafka = FakeKafka()
            kafka.verdict = lambda record: TOO_LARGE if len(record.value) > MAX_MESSAGE_BYTES else None
            publisher = kafka.new_publisher()
            yield publisher
            publisher.close()

        return open_it

    @pytest.fixture
    def topic(self) -> str:
        return "any"


class FatalProducer:
    """Stands for librdkafka's producer, which cannot be made to fail fatally from outside."""

    made: ClassVar[list["FatalProducer"]] = []

    def __init__(self, config: dict[str, Any], **_: Any) -> None:
        self.made.append(self)
        self.broken = len(self.made) == 1
        self.on_error = config["error_cb"]
        self.queue: list[Callable[[Any, Any], None]] = []
        self.purged = False

    def produce(self, *_: Any, on_delivery: Callable[[Any, Any], None], **__: Any) -> None:
        if self.broken and len(self.queue) == 2:
            raise KafkaException(KafkaError(KafkaError._FATAL, "out of order"))
        self.queue.append(on_delivery)

    def poll(self, _: float) -> int:
        if self.broken and self.queue:
            self.on_error(KafkaError(KafkaError._FATAL, "out of order", fatal=True))
        if self.purged or not self.broken:
            self._report()
        return 0

    def __len__(self) -> int:
        return len(self.queue)

    def purge(self) -> None:
        self.purged = True

    def flush(self, _: float) -> int:
        self._report()
        return 0

    def _report(self) -> None:
        error = KafkaError(KafkaError._PURGE_QUEUE, "purged") if self.purged else None
        while self.queue:
            self.queue.pop(0)(error, DeliveredMessage)


class DeliveredMessage:
    @staticmethod
    def topic() -> str:
        return "t"

    @staticmethod
    def partition() -> int:
        return 0

    @staticmethod
    def offset() -> int:
        return 7

    @staticmethod
    def timestamp() -> tuple[int, int]:
        return 0, 0


def test_after_a_fatal_error_there_is_a_new_producer_and_everything_was_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FatalProducer, "made", [])
    monkeypatch.setattr(module, "Producer", FatalProducer)

    async def check() -> None:
        replaced = asyncio.Event()
        loop = asyncio.get_running_loop()
        publisher = KafkaPublisher(producer_config({}, 1), lambda: loop.call_soon_threadsafe(replaced.set))
        reports: asyncio.Queue[Report] = asyncio.Queue()
        record = Record("t", None, b"", [])
        for _ in range(2):
            publisher.publish(record, reports.put_nowait)
        failures = [(await asyncio.wait_for(reports.get(), 10)).failure for _ in range(2)]
        assert {failure.error for failure in failures} == {"_PURGE_QUEUE"}
        assert not any(failure.for_good or failure.unauthorized for failure in failures)
        await asyncio.wait_for(replaced.wait(), 10)
        publisher.publish(record, reports.put_nowait)
        assert (await asyncio.wait_for(reports.get(), 10)).offset == 7
        publisher.close()

    asyncio.run(check())
    assert len(FatalProducer.made) == 2


class RewindingProducer(FatalProducer):
    """Stands for a producer whose topic is deleted and created again between two records: the offsets go back."""

    offsets: ClassVar[list[int | None]] = []

    def __init__(self, config: dict[str, Any], **options: Any) -> None:
        super().__init__(config, **options)
        self.broken = False

    def _report(self) -> None:
        while self.queue:
            offset = self.offsets.pop(0)
            message = type("Delivered", (DeliveredMessage,), {"offset": staticmethod(lambda offset=offset: offset)})
            self.queue.pop(0)(None, message)


@pytest.mark.parametrize(
    ("offsets", "acknowledged", "producers"),
    [([7, 8, 0, 0, 1, 2], "++-+++", 2), ([7, 0, 5, 0, 1, 6], "+-+--+", 2)],
    ids=["once", "twice within 5 s"],
)
def test_a_record_whose_offset_went_back_is_not_acknowledged_and_has_the_producer_replaced(
    monkeypatch: pytest.MonkeyPatch, offsets: list[int], acknowledged: str, producers: int
):
    """A partition that lost its end, or was created again, would be below the producer's last offset for long."""
    monkeypatch.setattr(RewindingProducer, "made", [])
    monkeypatch.setattr(RewindingProducer, "offsets", list(offsets))
    monkeypatch.setattr(module, "Producer", RewindingProducer)

    async def check() -> list[str | None]:
        publisher = KafkaPublisher(producer_config({}, 1))
        reports: asyncio.Queue[Report] = asyncio.Queue()
        errors = []
        for _ in offsets:
            publisher.publish(Record("t", None, b"", []), reports.put_nowait)
            failure = (await asyncio.wait_for(reports.get(), 10)).failure
            errors.append(failure and failure.error)
        publisher.close()
        return errors

    again = "TOPIC_CREATED_AGAIN"
    assert asyncio.run(check()) == [None if taken == "+" else again for taken in acknowledged]
    assert len(RewindingProducer.made) == producers


def test_a_record_without_an_error_and_without_an_offset_is_not_acknowledged(monkeypatch: pytest.MonkeyPatch):
    """Also the first one of a partition, before which no offset is known."""
    monkeypatch.setattr(RewindingProducer, "made", [])
    monkeypatch.setattr(RewindingProducer, "offsets", [None, 0, None, 1])
    monkeypatch.setattr(module, "Producer", RewindingProducer)

    async def check() -> list[str | None]:
        publisher = KafkaPublisher(producer_config({}, 1))
        reports: asyncio.Queue[Report] = asyncio.Queue()
        for _ in range(4):
            publisher.publish(Record("t", None, b"", []), reports.put_nowait)
        found = [(await asyncio.wait_for(reports.get(), 10)).failure for _ in range(4)]
        publisher.close()
        return [failure and failure.error for failure in found]

    assert asyncio.run(check()) == ["NO_OFFSET", None, "NO_OFFSET", None]


def test_late_reports_of_a_former_producer_say_nothing_of_the_topic_that_was_created_again(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(RewindingProducer, "made", [])
    monkeypatch.setattr(RewindingProducer, "offsets", [5000, 0])
    monkeypatch.setattr(module, "Producer", RewindingProducer)

    async def check() -> list[str | None]:
        publisher = KafkaPublisher(producer_config({}, 1))
        reports: asyncio.Queue[Report] = asyncio.Queue()
        (former,) = RewindingProducer.made
        with monkeypatch.context() as patched:
            patched.setattr(RewindingProducer, "_report", lambda _: None)
            publisher.publish(Record("t", None, b"", []), reports.put_nowait)
            while not former.queue:  # noqa: ASYNC110 a stand-in has no event for it
                await asyncio.sleep(0)
            publisher.renew()
        errors = []
        for number in range(2):
            failure = (await asyncio.wait_for(reports.get(), 10)).failure
            errors.append(failure and failure.error)
            if number == 0:
                publisher.publish(Record("t", None, b"", []), reports.put_nowait)
        publisher.close()
        return errors

    assert asyncio.run(check()) == [None, None]


def test_a_producer_that_cannot_be_made_when_topics_are_others_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    attempts: list[int] = []

    def make(config: dict[str, Any], **options: Any) -> RewindingProducer:
        attempts.append(len(attempts))
        if len(attempts) == 2:
            raise KafkaException(KafkaError(KafkaError._FAIL, "no threads left"))
        return RewindingProducer(config, **options)

    monkeypatch.setattr(RewindingProducer, "made", [])
    monkeypatch.setattr(module, "Producer", make)
    monkeypatch.setattr(module, "_REPLACE_EVERY_S", 0.0)

    async def check() -> None:
        replaced = asyncio.Event()
        publisher = KafkaPublisher(producer_config({}, 1), replaced.set)
        publisher.renew()
        await asyncio.wait_for(replaced.wait(), 10)
        publisher.close()

    asyncio.run(check())
    assert len(attempts) == 3


def test_a_producer_that_cannot_be_made_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    attempts: list[int] = []

    def make(config: dict[str, Any], **options: Any) -> FatalProducer:
        attempts.append(len(attempts))
        if len(attempts) in {2, 3}:
            raise KafkaException(KafkaError(KafkaError._FAIL, "no threads left"))
        return FatalProducer(config, **options)

    monkeypatch.setattr(FatalProducer, "made", [])
    monkeypatch.setattr(module, "Producer", make)
    monkeypatch.setattr(module, "_REPLACE_EVERY_S", 0.0)

    async def check() -> None:
        replaced = asyncio.Event()
        publisher = KafkaPublisher(producer_config({}, 1), replaced.set)
        reports: asyncio.Queue[Report] = asyncio.Queue()
        record = Record("t", None, b"", [])
        publisher.publish(record, reports.put_nowait)
        assert (await asyncio.wait_for(reports.get(), 10)).failure.error == "_PURGE_QUEUE"
        await asyncio.wait_for(replaced.wait(), 10)
        publisher.publish(record, reports.put_nowait)
        assert (await asyncio.wait_for(reports.get(), 10)).offset == 7
        publisher.close()

    asyncio.run(check())
    assert len(attempts) == 4


class WaitingProducer(FatalProducer):
    """Stands for a producer that has its reports once asked so often; remembers for how long."""

    rounds: ClassVar[int] = 1
    waits: ClassVar[list[float]] = []

    def __init__(self, config: dict[str, Any], **options: Any) -> None:
        super().__init__(config, **options)
        self.broken = False

    def poll(self, timeout: float) -> int:
        if self.queue:
            self.waits.append(timeout)
            if len(self.waits) >= self.rounds:
                self._report()
        return 0


@pytest.mark.parametrize(
    ("records", "patience_s", "waits"),
    [(module._FEW, 60, {module._TICK_S}), (module._FEW + 1, 60, {0}), (module._FEW, 0, {0})],
    ids=["few", "many", "few, and late"],
)
def test_the_loop_waits_for_the_reports_of_few_records_and_not_for_long(
    monkeypatch: pytest.MonkeyPatch, records: int, patience_s: float, waits: set[float]
):
    monkeypatch.setattr(WaitingProducer, "made", [])
    monkeypatch.setattr(WaitingProducer, "waits", [])
    monkeypatch.setattr(WaitingProducer, "rounds", 3)
    monkeypatch.setattr(module, "Producer", WaitingProducer)
    monkeypatch.setattr(module, "_PATIENCE_S", patience_s)

    async def check() -> None:
        publisher = KafkaPublisher(producer_config({}, 1))
        reports: asyncio.Queue[Report] = asyncio.Queue()
        for _ in range(records):
            publisher.publish(Record("t", None, b"", []), reports.put_nowait)
        for _ in range(records):
            await asyncio.wait_for(reports.get(), 10)
        publisher.close()

    asyncio.run(check())
    assert len(WaitingProducer.waits) == 3
    assert set(WaitingProducer.waits) == waits


class SilentProducer(FatalProducer):
    """Stands for a producer that has lost its last broker: the first ones report what their class says, if anything."""

    verdicts: ClassVar[list[KafkaError | None]] = []

    def __init__(self, config: dict[str, Any], **options: Any) -> None:
        super().__init__(config, **options)
        self.broken = False
        self.offsets = itertools.count()
        self.verdict = self.verdicts.pop(0) if self.verdicts else "acknowledged"

    def poll(self, _: float) -> int:
        if self.purged:
            self._report()
        while self.queue and self.verdict is not None:
            offset = next(self.offsets)
            message = type("Delivered", (DeliveredMessage,), {"offset": staticmethod(lambda offset=offset: offset)})
            # Trap: comparing a KafkaError with anything else breaks the interpreter's next call.
            self.queue.pop(0)(self.verdict if isinstance(self.verdict, KafkaError) else None, message)
        return 0


def published(monkeypatch: pytest.MonkeyPatch, verdicts: list[KafkaError | None], count: int) -> list[str | None]:
    """Return how publishing so many records one after the other ended, where a producer may be silent for no time."""
    monkeypatch.setattr(SilentProducer, "made", [])
    monkeypatch.setattr(SilentProducer, "verdicts", verdicts)
    monkeypatch.setattr(module, "Producer", SilentProducer)
    monkeypatch.setattr(module, "_SILENT_S", 0.0)

    async def check() -> list[str | None]:
        publisher = KafkaPublisher(producer_config({}, 1))
        reports: asyncio.Queue[Report] = asyncio.Queue()
        errors = []
        for _ in range(count):
            publisher.publish(Record("t", None, b"", []), reports.put_nowait)
            failure = (await asyncio.wait_for(reports.get(), 10)).failure
            errors.append(failure and failure.error)
        publisher.close()
        return errors

    return asyncio.run(check())


def test_a_producer_that_never_reports_is_replaced_and_what_it_was_given_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    assert published(monkeypatch, [None, None], 4) == ["_PURGE_QUEUE", "_PURGE_QUEUE", None, None]
    assert len(SilentProducer.made) == 3
    assert caplog.text.count("no broker has acknowledged or refused one") == 2


def test_a_producer_whose_records_only_time_out_is_replaced_before_it_is_given_another(monkeypatch: pytest.MonkeyPatch):
    timed_out = KafkaError(KafkaError._MSG_TIMED_OUT, "timed out")
    assert published(monkeypatch, [timed_out], 3) == ["_MSG_TIMED_OUT", None, None]
    assert len(SilentProducer.made) == 2


def test_a_producer_that_a_broker_answers_is_not_replaced_whatever_the_answer(monkeypatch: pytest.MonkeyPatch):
    refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "no right")
    assert published(monkeypatch, [refused], 3) == ["TOPIC_AUTHORIZATION_FAILED"] * 3
    assert len(SilentProducer.made) == 1


def test_each_producer_that_is_replaced_for_its_silence_leaves_its_successor_twice_the_time(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(SilentProducer, "made", [])
    monkeypatch.setattr(SilentProducer, "verdicts", [None, None])
    monkeypatch.setattr(module, "Producer", SilentProducer)
    monkeypatch.setattr(module, "_SILENT_S", 0.01)

    async def check() -> None:
        publisher = KafkaPublisher(producer_config({}, 1))
        reports: asyncio.Queue[Report] = asyncio.Queue()
        for left in (0.02, 0.04, 0.01):
            publisher.publish(Record("t", None, b"", []), reports.put_nowait)
            await asyncio.wait_for(reports.get(), 10)
            while publisher._silence_s != left:  # noqa: ASYNC110 it tells nobody
                await asyncio.sleep(0.001)
        publisher.close()

    asyncio.run(asyncio.wait_for(check(), 30))
    assert len(SilentProducer.made) == 3


def test_a_producer_that_is_silent_and_cannot_be_replaced_yet_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    attempts: list[int] = []

    def make(config: dict[str, Any], **options: Any) -> SilentProducer:
        attempts.append(len(attempts))
        if len(attempts) in {2, 3}:
            raise KafkaException(KafkaError(KafkaError._FAIL, "no threads left"))
        return SilentProducer(config, **options)

    monkeypatch.setattr(SilentProducer, "made", [])
    monkeypatch.setattr(SilentProducer, "verdicts", [None])
    monkeypatch.setattr(module, "Producer", make)
    monkeypatch.setattr(module, "_SILENT_S", 0.0)
    monkeypatch.setattr(module, "_REPLACE_EVERY_S", 0.0)

    async def check() -> None:
        replaced = asyncio.Event()
        publisher = KafkaPublisher(producer_config({}, 1), replaced.set)
        reports: asyncio.Queue[Report] = asyncio.Queue()
        publisher.publish(Record("t", None, b"", []), reports.put_nowait)
        assert (await asyncio.wait_for(reports.get(), 10)).failure.error == "_PURGE_QUEUE"
        await asyncio.wait_for(replaced.wait(), 10)
        publisher.close()

    asyncio.run(check())
    assert len(attempts) == 4
    assert caplog.text.count("no broker has acknowledged or refused one") == 1


class SlowlyPurgedProducer(SilentProducer):
    """Stands for a producer that is asked several times before it has reported what was purged."""

    rounds: ClassVar[float] = 5

    def poll(self, timeout: float) -> int:
        self.asked = getattr(self, "asked", 0) + self.purged
        return 0 if self.purged and self.asked < self.rounds else super().poll(timeout)


@pytest.mark.parametrize(
    ("rounds", "patience_s", "errors"),
    [
        (1, 60, ["first: _PURGE_QUEUE", "second: BEHIND_FAILED"]),
        (5, 0, ["first: _PURGE_QUEUE", "second: BEHIND_FAILED"]),
        (float("inf"), 0, ["second: BEHIND_FAILED"]),
    ],
    ids=["purged at once", "purged slowly", "never purged"],
)
def test_what_waits_while_a_producer_is_replaced_is_given_back_behind_what_that_one_had(
    monkeypatch: pytest.MonkeyPatch, rounds: float, patience_s: float, errors: list[str]
):
    """The older one goes to the spool: sent by the new producer, the newer one would be before it."""
    monkeypatch.setattr(SilentProducer, "made", [])
    monkeypatch.setattr(SilentProducer, "verdicts", [None])
    monkeypatch.setattr(SlowlyPurgedProducer, "rounds", rounds)
    monkeypatch.setattr(module, "Producer", SlowlyPurgedProducer)
    monkeypatch.setattr(module, "_PATIENCE_S", patience_s)
    monkeypatch.setattr(module, "_PURGE_S", 0.2)

    async def check() -> list[str]:
        publisher = KafkaPublisher(producer_config({}, 1))
        given_back = asyncio.Event()
        reports = []

        def take(name: str, report: Report) -> None:
            reports.append(f"{name}: {report.failure.error}")
            if name == "second":
                given_back.set()

        publisher.publish(Record("t", b"key", b"", []), functools.partial(take, "first"))
        while not publisher._under_way:  # noqa: ASYNC110 it tells nobody
            await asyncio.sleep(0)
        publisher.renew()
        publisher.publish(Record("t", b"key", b"", []), functools.partial(take, "second"))
        await asyncio.wait_for(given_back.wait(), 10)
        acknowledged = asyncio.get_running_loop().create_future()
        publisher.publish(Record("t", b"key", b"", []), acknowledged.set_result)
        assert (await asyncio.wait_for(acknowledged, 10)).failure is None
        publisher.close()
        return reports

    assert asyncio.run(check()) == errors


def test_what_a_broken_producer_does_not_take_is_given_back_behind_what_it_had(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FatalProducer, "made", [])
    monkeypatch.setattr(module, "Producer", FatalProducer)

    async def check() -> list[str]:
        publisher = KafkaPublisher(producer_config({}, 1))
        reports: asyncio.Queue[str] = asyncio.Queue()
        for name in ("first", "second", "third"):
            record = Record("t", b"key", b"", [])
            publisher.publish(record, lambda report, name=name: reports.put_nowait(f"{name}: {report.failure.error}"))
        told = [await asyncio.wait_for(reports.get(), 10) for _ in range(3)]
        publisher.close()
        return told

    assert asyncio.run(check()) == ["first: _PURGE_QUEUE", "second: _PURGE_QUEUE", "third: BEHIND_FAILED"]


class OnceFailingProducer(FatalProducer):
    """Stands for a producer whose first record fails once it is told to, alone or with all that the producer had."""

    error: ClassVar[KafkaError]
    fails: ClassVar[bool] = False

    def __init__(self, config: dict[str, Any], **options: Any) -> None:
        super().__init__(config, **options)
        self.broken = False
        self.first = len(self.made) == 1

    def _report(self) -> None:
        if not self.first:
            super()._report()
        elif OnceFailingProducer.fails and self.queue:
            self.first = False
            self.queue.pop(0)(self.error, DeliveredMessage)
            if self.error.fatal():
                self.on_error(self.error)


@pytest.mark.parametrize(
    "error",
    [KafkaError(KafkaError._MSG_TIMED_OUT, "late"), KafkaError(KafkaError._FATAL, "out of order", fatal=True)],
    ids=["one record", "the producer"],
)
def test_what_waits_behind_a_record_that_fails_is_given_back(monkeypatch: pytest.MonkeyPatch, error: KafkaError):
    """The one that failed goes to the spool: what came after it would be before it."""
    monkeypatch.setattr(FatalProducer, "made", [])
    monkeypatch.setattr(OnceFailingProducer, "error", error, raising=False)
    monkeypatch.setattr(OnceFailingProducer, "fails", False)
    monkeypatch.setattr(module, "Producer", OnceFailingProducer)
    monkeypatch.setattr(module, "_PATIENCE_S", 60)

    async def check() -> list[str | None]:
        publisher = KafkaPublisher(producer_config({}, 1))
        reports: asyncio.Queue[Report] = asyncio.Queue()
        publisher.publish(Record("t", b"key", b"", []), reports.put_nowait)
        while not publisher._under_way:  # noqa: ASYNC110 it tells nobody
            await asyncio.sleep(0)
        publisher.publish(Record("t", b"key", b"", []), reports.put_nowait)
        OnceFailingProducer.fails = True
        failures = [(await asyncio.wait_for(reports.get(), 10)).failure for _ in range(2)]
        publisher.publish(Record("t", b"key", b"", []), reports.put_nowait)
        failures.append((await asyncio.wait_for(reports.get(), 10)).failure)
        publisher.close()
        return [failure and failure.error for failure in failures]

    assert asyncio.run(check()) == [error.name(), "BEHIND_FAILED", None]


def test_a_replaced_producer_is_not_closed_on_the_loop(monkeypatch: pytest.MonkeyPatch):
    """It may be resolving a name for seconds, in which nothing would be accepted or answered."""
    closed: list[str] = []

    class ClosedProducer(FatalProducer):
        def __init__(self, config: dict[str, Any], **options: Any) -> None:
            super().__init__(config, **options)
            self.made.clear()

        def __del__(self) -> None:
            closed.append(threading.current_thread().name)

    monkeypatch.setattr(module, "Producer", ClosedProducer)

    async def check() -> list[str]:
        publisher = KafkaPublisher(producer_config({}, 1))
        for count in (1, 2, 3):
            publisher.renew()
            while len(closed) < count:  # noqa: ASYNC110 it tells nobody
                await asyncio.sleep(0.001)
        publisher.close()
        return list(closed)

    assert asyncio.run(check()) == ["producer-close"] * 3


def test_what_waits_while_there_is_no_producer_is_given_back(monkeypatch: pytest.MonkeyPatch):
    attempts: list[int] = []

    def make(config: dict[str, Any], **options: Any) -> SilentProducer:
        attempts.append(len(attempts))
        if len(attempts) > 1:
            raise KafkaException(KafkaError(KafkaError._FAIL, "no threads left"))
        return SilentProducer(config, **options)

    monkeypatch.setattr(SilentProducer, "made", [])
    monkeypatch.setattr(SilentProducer, "verdicts", [])
    monkeypatch.setattr(module, "Producer", make)
    monkeypatch.setattr(module, "_REPLACE_EVERY_S", 0.05)

    async def check() -> None:
        publisher = KafkaPublisher(producer_config({}, 1))
        publisher.renew()
        for _ in range(2):
            report = asyncio.get_running_loop().create_future()
            publisher.publish(Record("t", None, b"", []), report.set_result)
            assert (await asyncio.wait_for(report, 10)).failure.error == "BEHIND_FAILED"
        publisher.close()

    asyncio.run(check())


def test_librdkafka_reports_what_was_purged_before_what_waited_is_given_back():
    async def check() -> list[str]:
        config = producer_config(KafkaSettings(bootstrap_servers="127.0.0.1:1").librdkafka(), 60)
        publisher = KafkaPublisher({**config, "log_level": 0})
        reports: asyncio.Queue[Report] = asyncio.Queue()
        publisher.publish(Record("t", b"key", b"x", []), reports.put_nowait)
        while not publisher._under_way:  # noqa: ASYNC110 it tells nobody
            await asyncio.sleep(0)
        publisher.publish(Record("t", b"key", b"x", []), reports.put_nowait)
        publisher.renew()
        errors = [(await asyncio.wait_for(reports.get(), 10)).failure.error for _ in range(2)]
        publisher.close()
        return errors

    assert asyncio.run(check()) == ["_PURGE_QUEUE", "BEHIND_FAILED"]


def test_a_full_queue_is_reported_and_not_raised():
    async def check() -> None:
        config = producer_config(KafkaSettings(bootstrap_servers="127.0.0.1:1").librdkafka(), 5)
        publisher = KafkaPublisher({**config, "queue.buffering.max.messages": 1, "log_level": 0})
        reports: asyncio.Queue[Report] = asyncio.Queue()
        for _ in range(2):
            publisher.publish(Record("t", None, b"x", []), reports.put_nowait)
        report = await asyncio.wait_for(reports.get(), 10)
        assert report.failure.error == "_QUEUE_FULL"
        publisher.close()

    asyncio.run(check())


def test_the_producer_acknowledges_only_what_all_in_sync_replicas_have():
    config = producer_config({}, 3)
    assert config["acks"] == "all"
    assert config["enable.idempotence"] is True
    assert config["partitioner"] == "murmur2_random"
    assert config["message.timeout.ms"] == 3000
    assert config["message.max.bytes"] == MAX_MESSAGE_BYTES
