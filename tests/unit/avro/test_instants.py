"""Instants are exact to the microsecond, or they stay text."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from avro import instants
from support import moments
from support.spellings import SPELLINGS, Spelling

PAGE = Path(__file__).parents[3] / "docs" / "instants.md"

MINUTE = 60_000_000


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000001+00:00", 1),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("1970-01-01 00:00:00+00", 0),
        ("1970-01-01T00:00:00.1Z", 100_000),
        ("1970-01-01T00:00:00.1234560000Z", 123_456),
        ("1970-01-01T05:30:00+05:30", 0),
        ("1969-12-31T19:30:00-0430", 0),
        ("1970-01-01T00:19:32.13+00:19:32", 130_000),
        ("0001-01-01T00:00:00Z", instants.FIRST),
        ("9999-12-31T23:59:59.999999Z", instants.LAST),
    ],
)
def test_reads_what_names_an_exact_instant(text: str, micros: int) -> None:
    assert instants.parse(text) == micros


MOMENTS = [datetime(2026, 5, 6, 3, 39, 23, 1, tzinfo=UTC), datetime(1969, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)]


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
@pytest.mark.parametrize("spelling", SPELLINGS, ids=str)
def test_each_spelling_names_what_it_is_meant_to_and_the_judge_reads_the_same(
    spelling: Spelling, moment: datetime
) -> None:
    value = spelling.spell(moment)
    if isinstance(value, str):
        expected = spelling.micros(moment)
        assert instants.read(value) == (expected, expected is not None and not spelling.says_more)
    assert moments.read(value) == (spelling.micros(moment), spelling.says_more)


SECOND = 1_778_038_763_000_000  # 2026-05-06T03:39:23Z


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        # 0 to 9 digits: PostgreSQL (0 to 6), JavaScript (3), .NET (7), Go (0 to 9).
        ("2026-05-06T03:39:23Z", SECOND),
        ("2026-05-06T03:39:23.1Z", SECOND + 100_000),
        ("2026-05-06T03:39:23.123Z", SECOND + 123_000),
        ("2026-05-06T03:39:23.123456Z", SECOND + 123_456),
        ("2026-05-06T03:39:23.1234560Z", SECOND + 123_456),
        ("2026-05-06T03:39:23.123456000+00:00", SECOND + 123_456),
        # Offsets.
        ("2026-05-06T03:39:23z", SECOND),
        ("2026-05-06t03:39:23Z", SECOND),
        ("2026-05-06 03:39:23+00", SECOND),
        ("2026-05-06T03:39:23+0000", SECOND),
        ("2026-05-06T09:09:38+05:30:15", SECOND),
        ("2026-05-06T09:09:38+053015", SECOND),
        ("2026-05-06T03:39:23-00:00", SECOND),
        ("2026-05-05T23:39:23-0400", SECOND),
        ("2026-05-06 03:39:23 UTC", SECOND),
        # Go's String(), with and without a monotonic reading.
        ("2026-05-06 03:39:23 +0000", SECOND),
        ("2026-05-06 05:39:23.5 +0200 CEST", SECOND + 500_000),
        ("2026-05-06 09:09:23 +0530 +0530 m=+0.000012345", SECOND),
        # Other forms of ISO 8601.
        ("2026-05-06T03:39:23,5Z", SECOND + 500_000),
        ("2026-05-06T03:39Z", SECOND - 23_000_000),
        ("20260506T033923Z", SECOND),
        ("20260506T033923.25+0000", SECOND + 250_000),
        ("20260506T0339Z", SECOND - 23_000_000),
        ("2026-05-05T24:00:00Z", SECOND - 13_163_000_000),
        ("2026-05-06T00:00:00Z", SECOND - 13_163_000_000),
        # RFC 2822 and HTTP: .NET's "R", JavaScript's toUTCString.
        ("Wed, 06 May 2026 03:39:23 GMT", SECOND),
        ("Wed, 6 May 2026 05:39:23 +0200 (CEST)", SECOND),
        ("06 May 2026 03:39 -0000", SECOND - 23_000_000),
    ],
)
def test_reads_every_usual_spelling(text: str, micros: int) -> None:
    assert instants.read(text) == (micros, True)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2026-05-06T03:39:23.1234567Z", SECOND + 123_456),
        ("2026-05-06T03:39:23.123456789+00:00", SECOND + 123_456),
        ("2026-05-06T03:39:23.9999999Z", SECOND + 999_999),
        ("2026-05-06 03:39:23.123456789 +0000 UTC", SECOND + 123_456),
        ("2026-05-06T03:39:23." + "9" * 10_000 + "Z", SECOND + 999_999),
        ("1969-12-31T23:59:59.9999999Z", -1),
        ("2026-05-06T03:39:60Z", SECOND + 37_000_000),
        ("2016-12-31T23:59:60.5Z", 1_483_228_800_500_000),
        ("9999-12-31T23:59:59.9999999Z", instants.LAST),
    ],
)
def test_says_that_a_text_says_more_than_the_microsecond_in_which_it_is(text: str, micros: int) -> None:
    """Cut off, not rounded: what happened never gets later than what followed it."""
    assert instants.read(text) == (micros, False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "infinity",
        "-infinity",
        "true",
        "1778038763",
        "1778038763000",
        "1778038763.123",
        "2026-05-06",
        "03:39:23Z",
        "2026-05-06T03Z",
        "2026-05-06T03:39:23",
        "2026-05-06T03:39:23.123",
        "20260506T033923",
        "Wed, 06 May 2026 03:39:23",
        "5/6/2026 3:39:23 AM +00:00",
        "2026-05-06T03:39:61Z",
        "2026-05-06T24:00:01Z",
        "2026-05-06T24:00:00.000000001Z",
        "2026-05-06T24:01Z",
        "2026-05-06T25:00:00Z",
        "2026-02-30T03:39:23Z",
        "06 Mai 2026 03:39:23 GMT",
        "2026-05-06T03:39:23+24:00",
        "2026-05-06T03:39:23+00:60",
        "2026-05-06T03:39:23.Z",
        "2026-05-06T03:39:23Z\n",
        " 2026-05-06T03:39:23Z",
        "2026-W19-3T03:39:23Z",
        "2026-126T03:39:23Z",
        "٢٠٢٦-05-06T03:39:23Z",
        # What PostgreSQL and JavaScript write outside the years 1 to 9999.
        "10000-01-01T00:00:00Z",
        "+010000-01-01T00:00:00.000Z",
        "-000001-01-01T00:00:00.000Z",
        "0000-01-01T00:00:00Z",
        "0044-03-15T00:00:00Z BC",
        "0044-03-15 00:00:00+00 BC",
        "0044-03-15T00:00:00+00:00 BC",
        "0044-03-15T00:00:00+00:00 BCE",
        # Instants, but outside what a datetime in UTC can hold: consumers could not read them back.
        "0001-01-01T00:00:00+00:01",
        "0001-01-01t00:00:00+00:01",
        "9999-12-31T23:59:59.999999-00:01",
        "9999-12-31T23:59:60Z",
        "9999-12-31T24:00:00Z",
    ],
)
def test_leaves_alone_what_names_no_instant(text: str) -> None:
    assert instants.read(text) == (None, False)
    assert instants.parse(text) is None


@pytest.mark.parametrize("micros", [instants.FIRST, -1, 0, 1, 999_999, 1_000_000, instants.LAST])
def test_what_is_rendered_reads_back_and_is_the_datetime_in_utc(micros: int) -> None:
    text = instants.render(micros)
    assert instants.parse(text) == micros
    assert text == (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).isoformat()


def test_now_is_an_instant_of_this_century() -> None:
    assert instants.render(instants.now()) > "2026"


def test_the_page_says_of_each_whole_spelling_what_becomes_of_it() -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")][1:]
    shown = [
        (text, "its text beside it" in fate, not fate.startswith("no instant"))
        for spellings, *_, fate in rows
        for text in re.findall(r"`([^`]+)`", spellings)
        if len(text) > len("2026-05-06") + len("T03:3")
    ]
    assert len(shown) >= 10
    for text, more, counts in shown:
        micros, exact = instants.read(text.replace("...", "2026-05-06T03:39:"))
        assert (micros is not None, exact) == (counts, counts and not more), text
