"""Instants: ISO 8601 texts with an offset, as microseconds since 1970-01-01T00:00:00Z."""

import re
import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Trap: isoformat of an aware datetime takes twice as long, only to write the same offset each time.
_NAIVE_EPOCH = _EPOCH.replace(tzinfo=None)
_MICROSECOND = timedelta(microseconds=1)

#: The first and last instants that a datetime in UTC can hold, years 1 to 9999.
FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND

# Seven and more fraction digits are exact only if the rest are zeros; without an offset a text names no instant.
_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,6}0*)?(?:Z|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)", re.ASCII
)


def parse(text: str) -> int | None:
    """Return the microseconds since the epoch, or None if `text` is not exactly representable as such.

    None means "keep the text": no offset, more precision than microseconds, `infinity`, a leap second, not a date, or
    outside the years 1 to 9999 once it is in UTC, where consumers could not read it back.
    """
    if _INSTANT.fullmatch(text) is None:
        return None
    try:
        micros = (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    except ValueError:
        return None
    # Trap: 0001-01-01T00:00:00+01:00 is a datetime, but in UTC it is not.
    return micros if FIRST <= micros <= LAST else None


def render(micros: int) -> str:
    """Return the text of an instant in UTC, for example `2026-05-06T03:39:23.000001+00:00`."""
    return (_NAIVE_EPOCH + timedelta(0, 0, micros)).isoformat() + "+00:00"


def to_datetime(micros: int) -> datetime:
    """Return the instant as an aware datetime in UTC."""
    return _EPOCH + timedelta(0, 0, micros)


def now() -> int:
    """Return this moment's instant."""
    return time.time_ns() // 1000
