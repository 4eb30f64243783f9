"""This machine's clock against the brokers': measured by acknowledgements, reported, no reason to refuse anything."""

import time
from pathlib import Path

import pytest

from bridge.delivery import clock as module
from bridge.delivery.clock import ClockSkew
from support.fake_kafka import FakeKafka
from support.ingress import message, running_ingress
from support.wait import eventually

NOW = 1_700_000_000.0


def test_the_smallest_difference_of_a_while_is_the_skew_for_the_rest_is_waiting():
    skew = ClockSkew(lambda: NOW)
    assert skew.ahead_s is None
    for late_ms in (900, 40, 2_000):
        skew.appended(int(NOW * 1000) - 7_000 - late_ms)
    assert skew.ahead_s == pytest.approx(7.04)
    assert skew.remark is None


@pytest.mark.parametrize(
    ("ahead_s", "words"),
    [(7_200, "7200 s ahead of the brokers'"), (-40 * 86_400, "3456000 s behind the brokers'"), (31, "31 s ahead")],
)
def test_what_no_clock_that_is_kept_right_differs_by_is_a_remark(ahead_s: float, words: str):
    skew = ClockSkew(lambda: NOW)
    skew.appended(int((NOW - ahead_s) * 1000))
    assert skew.remark is not None
    assert words in skew.remark


def test_a_clock_that_was_set_right_is_right_after_a_while(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_WINDOW_S", -1.0)  # each record begins another one
    skew = ClockSkew(lambda: NOW)
    skew.appended(int((NOW + 100) * 1000))
    assert skew.remark is not None
    for _ in range(2):
        skew.appended(int(NOW * 1000))
    assert (skew.remark, skew.ahead_s) == (None, 0.0)


def test_an_operator_sees_it_and_events_are_published_all_the_same(tmp_path: Path):
    kafka = FakeKafka()
    kafka.clock_ahead_s = -7200
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        before = time.time()
        assert ingress.post(message()).json()["disposition"] == "published"
        state = ingress.details()
        assert state["status"] == "degraded"
        assert "7200 s ahead of the brokers'" in state["remarks"][0]
        eventually(lambda: 7199 < ingress.metric("bridge_clock_skew_seconds") < 7205)
        assert before < time.time()
