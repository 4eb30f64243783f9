"""When the list is read once more, by a new reader: a topic with these layouts and these ends."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Self

import pytest

from bridge.suppressions import watch
from openbsp.errors import KafkaUnavailableError
from openbsp.kafka.connection import KafkaSettings

LAYOUT = ("the id", 2)
ENDS = {0: (0, 3), 1: (0, 0)}
DOWN = KafkaUnavailableError("no broker answered")


class Topic:
    """Gives one answer after the other, the last one from then on."""

    def __init__(self, layouts: list[Any], ends: list[Any], leaderless: tuple[Any, ...] = ([],)) -> None:
        self.layouts = layouts
        self.ends = ends
        self.without = list(leaderless)

    def layout(self, name: str) -> tuple[str, int] | None:
        assert name == "suppressions"
        return self._next(self.layouts)

    def reader(self, _kafka: KafkaSettings, full_name: str) -> Self:
        assert full_name == "test.suppressions"
        return self

    def range(self) -> Mapping[int, tuple[int, int]]:
        return self._next(self.ends)

    def leaderless(self) -> list[int]:
        return self._next(self.without)

    def read(self, _within: Mapping[int, tuple[int, int]]) -> Iterator[Any]:
        return iter(())

    def follow(self, _starts: Mapping[int, int]) -> Iterator[None]:
        while True:
            yield None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def _next(self, answers: list[Any]) -> Any:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def looks(monkeypatch: pytest.MonkeyPatch, topic: Topic, most: int = 20) -> int:
    """Return after how many looks at the topic all of it is to be read again; at most `most`."""
    monkeypatch.setattr(watch, "TopicReader", topic.reader)
    monkeypatch.setattr(watch, "_LOOK_EVERY_S", 0.0)
    topics: Any = topic
    return len(list(islice(watch.changes_of(KafkaSettings(), topics, "test."), 1 + most))) - 1


@pytest.mark.parametrize("changed", [("another id", 2), ("the id", 3), None], ids=["made anew", "larger", "deleted"])
def test_a_topic_made_anew_or_with_more_partitions_is_read_again_whatever_its_ends(monkeypatch, changed):
    """A reader that waits at its end would hear nothing of it, or of the new partitions."""
    assert looks(monkeypatch, Topic([LAYOUT, LAYOUT, changed], [ENDS])) == 2


def test_a_topic_that_was_made_anew_before_the_reader_found_it_is_read_again(monkeypatch):
    assert looks(monkeypatch, Topic([None, LAYOUT], [ENDS])) == 1


@pytest.mark.parametrize("ends", [{0: (0, 2), 1: (0, 0)}, {0: (3, 3), 1: (0, 0)}], ids=["cut", "emptied"])
def test_a_topic_that_has_lost_records_is_read_again(monkeypatch, ends):
    assert looks(monkeypatch, Topic([LAYOUT], [ENDS, ENDS, ends])) == 2


@pytest.mark.parametrize(
    "topic",
    [
        Topic([LAYOUT], [ENDS, {0: (0, 4), 1: (0, 1)}]),
        Topic([LAYOUT, DOWN], [ENDS]),
        Topic([LAYOUT], [ENDS, DOWN, DOWN, ENDS, DOWN, DOWN, ENDS]),
        Topic([LAYOUT], [ENDS, DOWN], ([1],)),
    ],
    ids=["it has grown", "no broker answers", "no leader answers for a while", "a partition has no leader"],
)
def test_a_topic_that_has_grown_or_cannot_be_asked_is_followed_on(monkeypatch, topic):
    assert looks(monkeypatch, topic) == 20


@pytest.mark.parametrize("leaderless", [[], DOWN])
def test_a_reader_whom_no_broker_answers_while_others_are_answered_is_replaced(monkeypatch, caplog, leaderless):
    """It may have lost its last broker for good, and would never hear of another contact."""
    assert looks(monkeypatch, Topic([LAYOUT], [ENDS, DOWN], (leaderless,))) == 4
    assert "a new one reads all of it" in caplog.text
