"""Instants: ISO 8601 texts with an offset, as microseconds since 1970-01-01T00:00:00Z."""

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# Seven and more fraction digits are exact only if the rest are zeros; without an offset a text names no instant.
_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,6}0*)?(?:Z|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)", re.ASCII
)


def parse(text: str) -> int | None:
    """Return the microseconds since the epoch, or None if `text` is not exactly representable as such.

    None means "keep the text": no offset, more precision than microseconds, `infinity`, a leap second, not a date.
    """
    if _INSTANT.fullmatch(text) is None:
        return None
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None


def render(micros: int) -> str:
    """Return the text of an instant in UTC, for example `2026-05-06T03:39:23.000001+00:00`."""
    return to_datetime(micros).isoformat()


def to_datetime(micros: int) -> datetime:
    """Return the instant as an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def now() -> int:
    """Return this moment's instant."""
    return (datetime.now(UTC) - _EPOCH) // _MICROSECOND
