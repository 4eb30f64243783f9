"""Moments and durations in command lines: `2h` ago, or an instant."""

import re

from avro import instants

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d{1,9})([smhdw])")
_SECOND = 1_000_000

#: The formats of `moment`, for the help of an option.
FORMS = "30s, 15m, 2h, 7d or 1w ago, or an instant such as 2026-11-25T10:00Z"


def seconds(text: str) -> int:
    """Return the seconds of a duration such as 90s, 15m, 2h, 7d. Raises ValueError."""
    found = _AGO.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a duration: give one such as 90s, 15m, 2h or 7d")
    return int(found[1]) * _UNITS[found[2]]


def moment(text: str, now: int) -> int:
    """Return the microseconds since the epoch that `text` names, `now` being the current time. Raises ValueError."""
    if _AGO.fullmatch(text.strip()):
        return now - seconds(text) * _SECOND
    micros = instants.parse(text.strip())
    if micros is None:
        raise ValueError(f"{text!r} is not a moment: give {FORMS}")
    return micros
