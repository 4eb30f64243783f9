"""The reader of people's tools, with a broker that gives these answers."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from openbsp.errors import KafkaUnavailableError
from openbsp.kafka import reading
from openbsp.kafka.connection import KafkaSettings


class Consumer:
    """Refuses some questions for where a partition ends, then says 7."""

    refusals: list[int] = []  # noqa: RUF012 each test sets it

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        pass

    def list_topics(self, timeout: float) -> SimpleNamespace:
        del timeout
        partitions = {0: SimpleNamespace(leader=2), 1: SimpleNamespace(leader=-1)}
        return SimpleNamespace(topics={"t": SimpleNamespace(partitions=partitions)})

    def get_watermark_offsets(self, _place: Any, timeout: float) -> tuple[int, int]:
        del timeout
        if self.refusals:
            raise KafkaException(KafkaError(self.refusals.pop()))
        return 3, 7

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "Consumer", Consumer)
    monkeypatch.setattr(reading, "_POLL_S", 0.001)


@pytest.mark.parametrize("code", sorted(reading._PASSING))
def test_a_refusal_that_passes_is_waited_for(monkeypatch: pytest.MonkeyPatch, code: int):
    monkeypatch.setattr(Consumer, "refusals", [code, code])
    with reading.TopicReader(KafkaSettings(), "t") as reader:
        assert reader.range() == {0: (3, 7), 1: (3, 7)}


@pytest.mark.parametrize(
    ("code", "timeout_s"), [(KafkaError.TOPIC_AUTHORIZATION_FAILED, 15.0), (KafkaError.NOT_LEADER_FOR_PARTITION, 0.0)]
)
def test_another_one_or_one_that_stays_is_told(monkeypatch: pytest.MonkeyPatch, code: int, timeout_s: float):
    monkeypatch.setattr(Consumer, "refusals", [code])
    with (
        reading.TopicReader(KafkaSettings(), "t", timeout_s) as reader,
        pytest.raises(KafkaUnavailableError, match="no broker answered: "),
    ):
        reader.range()


def test_partitions_without_a_leader_are_named():
    with reading.TopicReader(KafkaSettings(), "t") as reader:
        assert reader.leaderless() == [1]
        reader.topic = "deleted"
        assert reader.leaderless() == []
