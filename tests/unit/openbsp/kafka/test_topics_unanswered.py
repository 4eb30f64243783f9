"""A client that never answers, not even with an error: no question waits for ever, and the next one is another's."""

import asyncio
import gc
import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from confluent_kafka import KafkaError, KafkaException, Uuid

from openbsp.errors import KafkaUnavailableError, TopicsError
from openbsp.kafka import topics as module
from openbsp.kafka.connection import KafkaSettings, TopicSettings
from openbsp.kafka.findings import Grade
from openbsp.kafka.topics import Topics
from openbsp.threads import in_thread

UNKNOWN = KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "no such topic"))
TIMED_OUT = KafkaException(KafkaError(KafkaError._TIMED_OUT, "timed out"))


class Admin:
    """Its answers are the class's: an exception, a value, or `...` for none at all."""

    made: ClassVar[list["Admin"]] = []
    topics: ClassVar[Any] = ...
    others: ClassVar[Any] = ...

    def __init__(self, config: dict[str, Any]) -> None:
        del config
        self.made.append(self)
        self.asked = 0

    def poll(self, _: float) -> int:
        return 0

    def describe_topics(self, wanted: Any, request_timeout: float) -> dict[str, "Future[Any]"]:
        del request_timeout
        return self._answers(wanted.topic_names, self.topics)

    def describe_configs(self, wanted: Any, request_timeout: float) -> dict[Any, "Future[Any]"]:
        del request_timeout
        return self._answers(wanted, self.others)

    def create_topics(self, wanted: Any, request_timeout: float) -> dict[str, "Future[Any]"]:
        del request_timeout
        return self._answers([topic.topic for topic in wanted], self.others)

    def _answers(self, questions: Any, answer: Any) -> dict[Any, "Future[Any]"]:
        self.asked += 1
        answers: dict[Any, Future[Any]] = {question: Future() for question in questions}
        for future in answers.values():
            if isinstance(answer, Exception):
                future.set_exception(answer)
            elif answer is not ...:
                future.set_result(answer)
        return answers


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> Topics:
    monkeypatch.setattr(Admin, "made", [])
    monkeypatch.setattr(module, "AdminClient", Admin)
    monkeypatch.setattr(module, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(module, "_POLL_S", 0.0)
    return Topics(KafkaSettings(bootstrap_servers="127.0.0.1:1"), TopicSettings())


@pytest.mark.parametrize("answer", [..., TIMED_OUT], ids=["no word", "timed out"])
def test_topics_that_nobody_describes_are_asked_for_through_a_new_client(
    topics: Topics, monkeypatch: pytest.MonkeyPatch, answer: Any
):
    monkeypatch.setattr(Admin, "topics", answer)
    for question in (topics.inspect, lambda: topics.layout("messages")):
        with pytest.raises(KafkaUnavailableError, match="no broker answered"):
            question()
    assert topics.identities() == {}
    assert [admin.asked for admin in Admin.made[:2]] == [1, 1]


def test_what_a_broker_has_answered_is_no_reason_for_another_client(topics: Topics, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Admin, "topics", UNKNOWN)
    for _ in range(2):
        assert {finding.grade for finding in topics.inspect().findings} == {Grade.WRONG}
    assert [admin.asked for admin in Admin.made] == [2]


def test_settings_of_topics_that_nobody_tells_are_a_risk_and_no_wait(topics: Topics, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Admin, "topics", SimpleNamespace(topic_id=Uuid(1, 2), partitions=[None] * 12))
    findings = topics.inspect().findings
    assert {finding.grade for finding in findings} == {Grade.RISK}
    assert all("settings cannot be read: librdkafka itself has given no word" in finding.text for finding in findings)
    assert len(Admin.made) == 2


def test_topics_that_nobody_creates_are_named(topics: Topics, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Admin, "topics", UNKNOWN)
    with pytest.raises(TopicsError, match="cannot be created: librdkafka itself has given no word"):
        topics.apply()


def test_a_client_that_cannot_be_replaced_is_asked_again(topics: Topics, monkeypatch: pytest.MonkeyPatch):
    def none(_: dict[str, Any]) -> Admin:
        raise KafkaException(KafkaError(KafkaError._FAIL, "no threads left"))

    monkeypatch.setattr(module, "AdminClient", none)
    for _ in range(2):
        with pytest.raises(KafkaUnavailableError):
            topics.inspect()
    assert [admin.asked for admin in Admin.made] == [2]


def test_a_client_that_was_replaced_is_closed_at_once_and_not_by_the_event_loop(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
):
    """Closing it waits for its threads; and one that waits for the collector keeps its threads until then."""
    closed: list[str] = []

    class Closing(Admin):
        def __init__(self, config: dict[str, Any]) -> None:
            del config
            self.asked = 0

        def __del__(self) -> None:
            closed.append(threading.current_thread().name)

    monkeypatch.setattr(module, "AdminClient", Closing)
    monkeypatch.setattr(Admin, "topics", TIMED_OUT)

    async def ask() -> None:
        with pytest.raises(KafkaUnavailableError):
            await in_thread(topics.inspect)

    gc.disable()
    try:
        for _ in range(3):
            asyncio.run(ask())
        assert closed == ["inspect"] * 2
    finally:
        gc.enable()
