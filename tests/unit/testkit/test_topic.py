"""The reader of a topic, with a broker that gives these answers."""

from types import SimpleNamespace
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException

from openbsp_testkit import topic
from openbsp_testkit.topic import TopicReader

#: What brokers say of a partition that is new to them.
PASSING = [
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
]


class Consumer:
    """Refuses `refusals` questions, then says that each partition ends at 7."""

    refusals: list[int] = []  # noqa: RUF012 each test sets it
    assigned: list[Any]

    def __init__(self, _settings: dict[str, Any]) -> None:
        pass

    def list_topics(self, name: str, timeout: float) -> SimpleNamespace:
        del timeout
        return SimpleNamespace(topics={name: SimpleNamespace(partitions={0: None, 1: None})})

    def get_watermark_offsets(self, _place: Any, timeout: float) -> tuple[int, int]:
        del timeout
        if self.refusals:
            raise KafkaException(KafkaError(self.refusals.pop()))
        return 0, 7

    def assign(self, places: list[Any]) -> None:
        Consumer.assigned = places

    def close(self) -> None:
        pass


def open_reader() -> TopicReader:
    return TopicReader("t", kafka="nowhere", schema_registry="http://nowhere")


@pytest.mark.parametrize("refusals", [*([code] for code in PASSING), PASSING])
def test_a_refusal_that_passes_is_waited_for(monkeypatch: pytest.MonkeyPatch, refusals: list[int]):
    monkeypatch.setattr(confluent_kafka, "Consumer", Consumer)
    monkeypatch.setattr(topic, "_POLL_S", 0.001)
    monkeypatch.setattr(Consumer, "refusals", list(refusals))
    with open_reader():
        assert [(place.partition, place.offset) for place in Consumer.assigned] == [(0, 7), (1, 7)]


def test_one_that_stays_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(confluent_kafka, "Consumer", Consumer)
    monkeypatch.setattr(topic, "_METADATA_S", 0.0)
    monkeypatch.setattr(Consumer, "refusals", [KafkaError.TOPIC_AUTHORIZATION_FAILED] * 9)
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        open_reader()
