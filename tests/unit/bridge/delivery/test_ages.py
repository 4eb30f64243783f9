"""Ages of events, while somebody sets the machine's clock."""

from pathlib import Path

import pytest

from bridge.delivery.ages import Ages
from support.fake_kafka import FakeKafka, FakeTopics
from support.ingress import message, running_ingress
from support.wait import eventually

HOUR_S = 3600.0


class Clocks:
    """A clock that can be set, and one that cannot."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.elapsed = 50.0
        self.ages = Ages(lambda: self.now, lambda: self.elapsed)

    def pass_by(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1
            self.elapsed += 1
            self.ages.look()

    def receive(self) -> int:
        return int(self.now * 1_000_000)

    def set_by(self, seconds: float) -> None:
        self.now += seconds


def test_a_clock_that_is_set_forward_makes_no_event_older():
    clocks = Clocks()
    before = clocks.receive()
    clocks.pass_by(10)
    clocks.set_by(2 * HOUR_S)
    after = clocks.receive()
    clocks.pass_by(5)
    assert clocks.ages.age_s(before) == pytest.approx(15)
    assert clocks.ages.age_s(after) == pytest.approx(5)


def test_a_clock_that_was_days_behind_and_is_set_right_makes_no_event_older():
    clocks = Clocks()
    right = clocks.receive()
    clocks.set_by(-40 * 24 * HOUR_S)
    clocks.pass_by(10)
    wrong = clocks.receive()
    clocks.pass_by(10)
    assert clocks.ages.age_s(right) == 0
    clocks.set_by(40 * 24 * HOUR_S)
    clocks.pass_by(10)
    assert clocks.ages.age_s(right) == pytest.approx(30)
    assert clocks.ages.age_s(wrong) == pytest.approx(20)


def test_a_clock_that_is_kept_right_is_the_clock():
    clocks = Clocks()
    received = clocks.receive()
    for _ in range(100):
        clocks.pass_by(1)
        clocks.set_by(0.5)
    assert clocks.ages.age_s(received) == pytest.approx(150)


def test_no_spooled_event_becomes_a_dead_letter_because_the_clock_was_set(tmp_path: Path):
    topics = FakeTopics()
    topics.available = False
    kafka = FakeKafka()
    with running_ingress(tmp_path, kafka=kafka, topics=topics, spool_max_age_s=1800) as ingress:
        assert ingress.post(message()).json()["disposition"] == "spooled"
        ages = ingress.service.ages
        now = ages._now
        ages._now = lambda: now() + 2 * HOUR_S
        topics.available = True
        eventually(lambda: kafka.topic("messages"))
        assert kafka.topic("dead-letters") == []


def test_while_the_clock_is_known_to_be_wrong_no_event_is_too_old(tmp_path: Path):
    kafka = FakeKafka()
    kafka.clock_ahead_s = -HOUR_S
    topics = FakeTopics()
    with running_ingress(tmp_path, kafka=kafka, topics=topics, spool_max_age_s=0.001, deadline_s=4) as ingress:
        assert ingress.post(message("first")).json()["disposition"] == "published"
        eventually(lambda: ingress.service.clock.remark)
        topics.available = False
        # Trap: while they are available, a doubt is settled at once.
        ingress.on_loop(ingress.service.preparation.doubt)
        eventually(lambda: ingress.post(message("spooled")).json()["disposition"] == "spooled")
        topics.available = True
        eventually(lambda: ingress.service.spool.events == 0)
        assert kafka.topic("dead-letters") == []
