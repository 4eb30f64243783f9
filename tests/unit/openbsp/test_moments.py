"""Moments as people give them to commands."""

import pytest

from avro import instants
from openbsp.moments import moment, seconds

NOW = instants.parse("2026-11-25T12:00:00Z")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("30s", "2026-11-25T11:59:30Z"),
        ("15m", "2026-11-25T11:45:00Z"),
        (" 2h ", "2026-11-25T10:00:00Z"),
        ("7d", "2026-11-18T12:00:00Z"),
        ("1w", "2026-11-18T12:00:00Z"),
        ("2026-11-25T10:00Z", "2026-11-25T10:00:00Z"),
        ("2026-11-25 11:00:00.5+01:00", "2026-11-25T10:00:00.5Z"),
    ],
)
def test_a_time_ago_and_an_instant_are_moments(text, named):
    assert moment(text, NOW) == instants.parse(named)


@pytest.mark.parametrize("text", ["", "yesterday", "2 hours", "-2h", "2026-11-25", "2026-11-25T10:00"])
def test_anything_else_is_refused_with_what_to_give(text):
    with pytest.raises(ValueError, match="is not a moment: give 30s, 15m, 2h"):
        moment(text, NOW)


def test_durations_are_seconds_and_nothing_else_is_one():
    assert [seconds(text) for text in ("90s", "15m", "2h", "7d", " 1w ")] == [90, 900, 7_200, 604_800, 604_800]
    for text in ("", "5", "2026-11-25T10:00Z", "-2h"):
        with pytest.raises(ValueError, match="not a duration"):
            seconds(text)
