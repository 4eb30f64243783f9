"""Instants: texts that name a moment, in any usual spelling, as microseconds since 1970-01-01T00:00:00Z.

The accepted texts are in docs/instants.md.
"""

import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Trap: isoformat of an aware datetime takes twice as long, only to write the same offset each time.
_NAIVE_EPOCH = _EPOCH.replace(tzinfo=None)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = 1_000_000

#: The first and last instants that a datetime in UTC can hold, years 1 to 9999.
FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND

#: The spelling of almost every text. fromisoformat reads it as it is, and drops digits after the microseconds.
_USUAL = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,6}(\d*))?(?:Z|[+-]\d\d(?::?[0-5]\d(?::?[0-5]\d)?)?)", re.ASCII
)

_OFFSET = r"""
    (?: [Zz] | \ ?(?:UTC|GMT)
      | \ ?(?P<sign>[+-])(?P<oh>[01]\d|2[0-3])(?::?(?P<om>[0-5]\d)(?::?(?P<os>[0-5]\d))?)?
        # The rest of Go's String(). Trap: " BC" is no zone.
        (?:\ (?:(?!BCE)[A-Z]{3,5}|[+-]\d{2,4}))?(?:\ m=[+-]\d+\.\d+)?
    )"""
_ISO_EXTENDED = rf"""
    (?P<year>\d{{4}})-(?P<month>\d\d)-(?P<day>\d\d)(?:[Tt]|\ +)
    (?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?{_OFFSET}"""
_ISO_BASIC = rf"""
    (?P<year>\d{{4}})(?P<month>\d\d)(?P<day>\d\d)[Tt]
    (?P<hour>\d\d)(?P<minute>\d\d)(?:(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?{_OFFSET}"""
#: RFC 2822, and with it the dates of HTTP.
_MAIL = r"""
    (?:[A-Za-z]{3},\ )?(?P<day>\d{1,2})\ (?P<month>[A-Za-z]{3})\ (?P<year>\d{4})[ ]
    (?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?P<fraction>))?[ ]
    (?:GMT|UTC|UT|Z|(?P<sign>[+-])(?P<oh>[01]\d|2[0-3])(?P<om>[0-5]\d)(?P<os>))(?:\ \([^()]*\))?"""
_SPELLINGS = tuple(re.compile(form, re.ASCII | re.VERBOSE) for form in (_ISO_EXTENDED, _ISO_BASIC, _MAIL))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LEAP_SECOND = 60
_MIDNIGHT_HOUR = 24


def parse(text: str) -> int | None:
    """Return the microseconds since the epoch that `text` names, None if it names no instant; see `read`."""
    return read(text)[0]


def read(text: str) -> tuple[int | None, bool]:
    """Return the microseconds since the epoch, and whether they are all that `text` contains.

    A text with more, such as nanoseconds or a leap second, gives the microsecond that it is in, and has to be kept
    beside it. None: not an instant, that is no date with a time, no offset, `infinity`, a number, or outside the years
    1 to 9999 once it is in UTC, where consumers could not read it back.
    """
    usual = _USUAL.fullmatch(text)
    if usual is not None:
        try:
            micros = (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
        except ValueError:
            pass  # such as 24:00, or no date at all
        else:
            # Trap: 0001-01-01T00:00:00+01:00 is a datetime, but in UTC it is not.
            beyond = usual[1]
            return (micros, not beyond or not beyond.strip("0")) if FIRST <= micros <= LAST else (None, False)
    for spelling in _SPELLINGS:
        match = spelling.fullmatch(text)
        if match is not None:
            return _unusual(match)
    return None, False


def _unusual(match: "re.Match[str]") -> tuple[int | None, bool]:
    month = match["month"]
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"] or 0)
    fraction = match["fraction"] or ""
    # Of an endless fraction only so many digits count; int() of thousands of digits would take long.
    micros = int(fraction[:6].ljust(6, "0"))
    midnight = hour == _MIDNIGHT_HOUR
    if midnight and (minute or second or fraction.strip("0")):
        return None, False
    leap = second == _LEAP_SECOND
    try:
        moment = datetime(
            int(match["year"]),
            int(month) if month.isdecimal() else _MONTHS.index(month.lower()) + 1,
            int(match["day"]),
            0 if midnight else hour,
            minute,
            second - leap,
            tzinfo=UTC,
        )
    except ValueError:
        return None, False
    offset = sum(int(match[name] or 0) * seconds for name, seconds in (("oh", 3600), ("om", 60), ("os", 1)))
    since = (moment - _EPOCH) // _MICROSECOND + micros
    since += (86_400 * midnight + leap - (-offset if match["sign"] == "-" else offset)) * _SECOND
    if not FIRST <= since <= LAST:
        return None, False
    return since, not leap and not fraction[6:].strip("0")


def render(micros: int) -> str:
    """Return the text of an instant in UTC, for example `2026-05-06T03:39:23.000001+00:00`."""
    seconds, rest = divmod(micros, _SECOND)
    return f"{_text_of(seconds)}.{rest:06}+00:00" if rest else f"{_text_of(seconds)}+00:00"


@lru_cache(4096)
def _text_of(seconds: int) -> str:
    # Records of one event, or of events of one moment, have few distinct seconds.
    return (_NAIVE_EPOCH + timedelta(0, seconds)).isoformat()


def now() -> int:
    """Return the current instant."""
    return time.time_ns() // 1000
