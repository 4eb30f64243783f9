"""OpenBSP is asked no more often than it was told, whatever its answers are and however long they take."""

from collections.abc import Iterator
from itertools import pairwise, repeat
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.reconcile import source
from bridge.reconcile.source import Range, Source
from bridge.sender.errors import PlatformBusyError
from bridge.sender.platform import Page

EVER = Range(0, 1, None)


class Platform:
    """An OpenBSP without rows, in a time of its own. An answer takes the next of `answers` seconds; None: busy."""

    def __init__(self, answers: Iterator[float | None]) -> None:
        self.now = 1000.0
        self.asked: list[float] = []
        self._answers = answers

    def page(self, *_: object, **__: object) -> Page:
        self.asked.append(self.now)
        seconds = next(self._answers)
        if seconds is None:
            raise PlatformBusyError("busy", after_s=0.0)
        self.now += seconds
        return Page([], 2, 0, None)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def pauses(self) -> list[float]:
        """How long it was from each request to the next."""
        return [later - former for former, later in pairwise(self.asked)]


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what asks so many times, and then how often and when it was."""

    def ask(times: int, answers: Iterator[float | None], per_s: float) -> Platform:
        platform: Any = Platform(answers)
        monkeypatch.setattr(source, "time", SimpleNamespace(monotonic=lambda: platform.now))
        asks = Source(platform, requests_per_s=per_s, patience_s=60, page_rows=5, sleep=platform.sleep)
        for _ in range(times):
            assert asks.page("messages", EVER, None) == []
        assert asks.requests == len(platform.asked)
        return platform

    return ask


@pytest.mark.parametrize("per_s", [0.5, 10, 200])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_quick_answers_are_asked_for_at_the_rate_that_is_set(asking: Any, per_s: float, share: float):
    """Whether they take none of the time between two requests, or most of it."""
    assert asking(5, repeat(share / per_s), per_s).pauses == pytest.approx([1 / per_s] * 4)


def test_slow_answers_are_not_made_up_for(asking: Any):
    """What was not asked while one was waited for is not asked at once afterwards."""
    platform = asking(5, iter([3.0, 0.0, 0.0, 0.25, 0.0]), 10)
    assert platform.pauses == pytest.approx([3.0, 0.1, 0.1, 0.25])


def test_a_request_that_is_sent_again_counts(asking: Any):
    """However short the pause for a platform that is busy is."""
    platform = asking(2, iter([None, None, None, 0.0, None, 0.0]), 0.5)
    assert len(platform.asked) == 6
    assert min(platform.pauses) >= 2.0 - 1e-9
