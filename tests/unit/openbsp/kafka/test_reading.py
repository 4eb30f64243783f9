"""The reader of people's tools, with a broker that gives these answers."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from openbsp.errors import KafkaUnavailableError
from openbsp.kafka import reading
from openbsp.kafka.connection import KafkaSettings
from simulation.log import SimulatedMessage


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


class Records:
    """A partition of three records, whose broker tells of an end before the last one, and then of its end."""

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        self._rest: list[Any] = []

    def list_topics(self, timeout: float) -> SimpleNamespace:
        del timeout
        return SimpleNamespace(topics={"t": SimpleNamespace(partitions={0: None})})

    def assign(self, places: list[Any]) -> None:
        del places
        at = "t", 0
        ends = [SimulatedMessage(at, end, None, None, None, KafkaError(KafkaError._PARTITION_EOF)) for end in (1, 3)]
        records = [SimulatedMessage(at, offset, b"k", b"v", None, None) for offset in range(2)]
        # The last record of the range is compacted away.
        self._rest = [records[0], ends[0], records[1], ends[1]]

    def unassign(self) -> None:
        pass

    def poll(self, _: float) -> Any:
        return self._rest.pop(0) if self._rest else None

    def close(self) -> None:
        pass


def test_an_end_before_the_end_is_read_beyond(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "Consumer", Records)
    with reading.TopicReader(KafkaSettings(), "t", 1.0) as reader:
        assert [message.offset() for message in reader.read({0: (0, 3)})] == [0, 1]
