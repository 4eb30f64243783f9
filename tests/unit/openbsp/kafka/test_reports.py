"""A record that librdkafka reports without an error, and that no broker has acknowledged, counts as not written."""

from typing import Any

import pytest

from openbsp.errors import KafkaUnavailableError
from openbsp.kafka import writing
from openbsp.kafka.connection import KafkaSettings


class Concluded:
    """What librdkafka tells of a record of which it only concludes that it was written."""

    @staticmethod
    def offset() -> None:
        return None


class ConcludingProducer:
    def __init__(self, *_: Any, **__: Any) -> None:
        self._report: Any = None

    def produce(self, *_: Any, on_delivery: Any, **__: Any) -> None:
        self._report = on_delivery

    def flush(self, _: float) -> int:
        self._report(None, Concluded)
        return 0


def test_a_command_does_not_take_it_for_written(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writing, "Producer", ConcludingProducer)
    with pytest.raises(KafkaUnavailableError, match="without an offset"):
        writing.write_one(KafkaSettings(), "topic", b"key", b"value", [])
