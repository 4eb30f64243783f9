"""Ids of topics, as far as brokers tell them."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Uuid

from openbsp.kafka import topics as module
from openbsp.kafka.connection import KafkaSettings, TopicSettings
from openbsp.kafka.topics import Topics


class Admin:
    def __init__(self, config: dict[str, Any]) -> None:
        del config

    def poll(self, _: float) -> int:
        return 0

    def describe_topics(self, wanted: Any, request_timeout: float) -> dict[str, Future[Any]]:
        del request_timeout
        answers: dict[str, Future[Any]] = {}
        for name in wanted.topic_names:
            answers[name] = answer = Future()
            if name == "openbsp.messages":
                answer.set_result(SimpleNamespace(topic_id=Uuid(1, 2)))
            elif name == "openbsp.conversations":
                answer.set_result(SimpleNamespace(topic_id=Uuid(0, 0)))
            else:
                answer.set_exception(KafkaException(KafkaError(KafkaError._TRANSPORT, "disconnected")))
        return answers


def test_a_topic_of_which_no_broker_tells_the_id_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    # Trap: at a takeover this is asked by all workers at once. Not to know an id must end none of them.
    monkeypatch.setattr(module, "AdminClient", Admin)
    topics = Topics(KafkaSettings(bootstrap_servers="127.0.0.1:1"), TopicSettings())
    assert topics.identities() == {"openbsp.messages": str(Uuid(1, 2))}
    assert "openbsp.contacts: topic id unknown" in caplog.text
