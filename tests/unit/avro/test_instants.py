"""Instants are exact to the microsecond, or they stay text."""

import pytest

from avro import instants

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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "infinity",
        "-infinity",
        "2026-05-06",
        "2026-05-06T03:39:23",
        "2026-05-06T03:39:23.1234567Z",
        "2026-05-06T03:39:60Z",
        "2026-02-30T03:39:23Z",
        "2026-05-06T03:39:23+24:00",
        "2026-05-06T03:39:23.Z",
        "2026-05-06T03:39:23,5Z",
        "2026-05-06T03:39:23Z\n",
        "2026-05-06t03:39:23z",
        "2026-W19-3T03:39:23Z",
        "20260506T033923Z",
        "٢٠٢٦-05-06T03:39:23Z",
        "10000-01-01T00:00:00Z",
        "0044-03-15T00:00:00Z BC",
        # Instants, but outside what a datetime in UTC can hold: consumers could not read them back.
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59.999999-00:01",
    ],
)
def test_leaves_alone_what_does_not(text: str) -> None:
    assert instants.parse(text) is None


@pytest.mark.parametrize("micros", [instants.FIRST, -1, 0, 1, 999_999, 1_000_000, instants.LAST])
def test_what_is_rendered_reads_back_and_is_the_datetime_in_utc(micros: int) -> None:
    text = instants.render(micros)
    assert instants.parse(text) == micros
    assert text == instants.to_datetime(micros).isoformat()


def test_now_is_an_instant_of_this_century() -> None:
    assert instants.render(instants.now()) > "2026"
