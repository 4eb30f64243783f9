"""The 38 spellings of an instant that may stand in rows, and what each names. Imports nothing of the project.

Of a moment each makes the value that a connector or a database writes for it (docs/instants.md says which count).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Spelling:
    """`spell` makes the value; `names` says which instant that names, None for none."""

    name: str
    spell: Callable[[datetime], Any]
    names: Callable[[datetime], datetime | None]
    #: The value says more than microseconds do, so its text is kept beside the instant.
    says_more: bool = False

    def micros(self, moment: datetime) -> int | None:
        """Return the microseconds since 1970 that the value of a moment names."""
        named = self.names(moment)
        return None if named is None else (named - _EPOCH) // timedelta(microseconds=1)

    def __str__(self) -> str:
        return self.name


def _nothing(moment: datetime) -> None:
    del moment


def _exactly(moment: datetime) -> datetime:
    return moment


def _to(micros: int) -> Callable[[datetime], datetime]:
    return lambda moment: moment.replace(microsecond=moment.microsecond // micros * micros)


def _to_the_minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _next_minute(moment: datetime) -> datetime:
    return _to_the_minute(moment) + timedelta(minutes=1)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def _as(form: str, *, hours: int = 0, minutes: int = 0, seconds: int = 0) -> Callable[[datetime], str]:
    """Return what writes a moment by strftime's form, on clocks that are so much ahead of UTC."""
    zone = timezone(timedelta(hours=hours, minutes=minutes, seconds=seconds))
    return lambda moment: moment.astimezone(zone).strftime(form)


_SECOND, _MICROSECOND = "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f"
_to_the_second = _to(1_000_000)

SPELLINGS = (
    Spelling("no digits", _as(f"{_SECOND}+00:00"), _to_the_second),
    Spelling("1 digit", lambda at: f"{at:{_SECOND}}.{at.microsecond // 100_000}Z", _to(100_000)),
    Spelling("3 digits", lambda at: f"{at:{_SECOND}}.{at.microsecond // 1_000:03}Z", _to(1_000)),
    Spelling("6 digits", _as(f"{_MICROSECOND}+00:00"), _exactly),
    Spelling("7 digits", _as(f"{_MICROSECOND}7+00:00"), _exactly, says_more=True),
    Spelling("9 digits", _as(f"{_MICROSECOND}891Z"), _exactly, says_more=True),
    Spelling("9 digits, the last ones zeros", _as(f"{_MICROSECOND}000Z"), _exactly),
    Spelling("Z", _as(f"{_MICROSECOND}Z"), _exactly),
    Spelling("z", _as(f"{_MICROSECOND}z"), _exactly),
    Spelling("t", _as("%Y-%m-%dt%H:%M:%S.%fZ"), _exactly),
    Spelling("a space for T", _as("%Y-%m-%d %H:%M:%S.%f+00:00"), _exactly),
    Spelling("+00", _as("%Y-%m-%d %H:%M:%S.%f+00"), _exactly),
    Spelling("+0000", _as(f"{_MICROSECOND}+0000"), _exactly),
    Spelling("-00:00", _as(f"{_MICROSECOND}-00:00"), _exactly),
    Spelling("+05:30:15", _as(f"{_MICROSECOND}+05:30:15", hours=5, minutes=30, seconds=15), _exactly),
    Spelling("-0430", _as(f"{_MICROSECOND}-0430", hours=-4, minutes=-30), _exactly),
    Spelling("no offset", _as(_MICROSECOND), _nothing),
    Spelling("a space before the offset", _as(f"{_MICROSECOND} +00:00"), _exactly),
    Spelling("a zone's name", _as("%Y-%m-%d %H:%M:%S.%f UTC"), _exactly),
    Spelling("a zone's name behind its offset", _as("%Y-%m-%d %H:%M:%S.%f +0200 CEST", hours=2), _exactly),
    Spelling("a comma", _as(f"{_SECOND},%fZ"), _exactly),
    Spelling("no seconds", _as("%Y-%m-%dT%H:%MZ"), _to_the_minute),
    Spelling("basic format", _as("%Y%m%dT%H%M%SZ"), _to_the_second),
    Spelling("basic format with a fraction", _as("%Y%m%dT%H%M%S.%f+0000"), _exactly),
    Spelling("24:00", _as("%Y-%m-%dT24:00:00Z"), _midnight),
    Spelling("a leap second", _as("%Y-%m-%dT%H:%M:60Z"), _next_minute, says_more=True),
    Spelling("infinity", lambda _: "infinity", _nothing),
    Spelling("-infinity", lambda _: "-infinity", _nothing),
    Spelling("BC as PostgreSQL shows it", _as("0044-%m-%d %H:%M:%S+00 BC"), _nothing),
    Spelling("BC in JSON", _as("0044-%m-%dT%H:%M:%S+00:00 BC"), _nothing),
    Spelling("a year over 9999", _as(f"1{_SECOND}Z"), _nothing),
    Spelling("a year over 9999 as JavaScript writes it", _as(f"+01{_SECOND}.000Z"), _nothing),
    Spelling("RFC 2822", _as("%a, %d %b %Y %H:%M:%S GMT"), _to_the_second),
    Spelling("RFC 2822 with an offset", _as("%d %b %Y %H:%M:%S +0200 (CEST)", hours=2), _to_the_second),
    Spelling("an epoch in seconds", lambda at: (at - _EPOCH) // timedelta(seconds=1), _nothing),
    Spelling("an epoch in milliseconds", lambda at: (at - _EPOCH) // timedelta(milliseconds=1), _nothing),
    Spelling("an epoch as a text", lambda at: str((at - _EPOCH) // timedelta(seconds=1)), _nothing),
    Spelling("true", lambda _: True, _nothing),
)
