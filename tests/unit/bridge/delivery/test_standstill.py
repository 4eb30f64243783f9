"""A spool from which nothing goes to Kafka is told of, whatever the drain waits for."""

from pathlib import Path

import pytest

from bridge.delivery import standstill as module
from bridge.delivery.standstill import Standstill
from support.fake_kafka import TIMED_OUT, FakeKafka
from support.ingress import message, running_ingress
from support.wait import eventually


def looked(standstill: Standstill, clock: list[float], moments: list[tuple[float, int, int]]) -> None:
    for at, events, gone in moments:
        clock[0] = at
        standstill.look(events, gone)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


def test_it_is_told_after_a_minute_then_every_ten_and_so_is_its_end(caplog: pytest.LogCaptureFixture):
    clock = [0.0]
    standstill = Standstill(lambda: "kafka: no broker answered", lambda: clock[0])
    looked(standstill, clock, [(0, 5, 0), (59, 6, 0)])
    assert lines(caplog) == []
    looked(standstill, clock, [(60, 7, 0), (61, 8, 0), (659, 9, 0)])
    (line,) = lines(caplog)
    assert line.startswith("7 events are in the spool, and none has reached Kafka for 60 s: kafka: no broker answered.")
    looked(standstill, clock, [(660, 9, 0)])
    assert len(lines(caplog)) == 1
    looked(standstill, clock, [(661, 8, 1), (720, 8, 1)])
    assert lines(caplog) == ["the spool drains again, 8 events are in it"]


@pytest.mark.parametrize(
    "moments",
    [
        [(0, 0, 0), (1000, 0, 0), (1001, 3, 0), (1060, 3, 0)],
        [(0, 9, 0), (50, 8, 1), (100, 7, 2), (150, 6, 3)],
        [(0, 9, 0), (50, 0, 9), (51, 9, 9), (110, 9, 9)],
    ],
    ids=["it was empty for long", "it moves slowly", "it has just filled again"],
)
def test_a_spool_that_moves_is_not_told(caplog: pytest.LogCaptureFixture, moments: list[tuple[float, int, int]]):
    clock = [0.0]
    looked(Standstill(lambda: "", lambda: clock[0]), clock, moments)
    assert lines(caplog) == []


def test_a_bridge_tells_why_its_spool_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(module, "_PATIENCE_S", 0.0)
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        ingress.post(message("kept"))
        eventually(lambda: "1 events are in the spool" in caplog.text and "_MSG_TIMED_OUT" in caplog.text)
        kafka.verdict = lambda _: None
        eventually(lambda: "the spool drains again" in caplog.text)
