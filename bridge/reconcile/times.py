"""Times as a person writes them on the command line."""

import re

from avro import instants

_AGO = re.compile(r"(\d{1,6})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MICROS = 1_000_000


def seconds(text: str) -> int:
    """Return the seconds of a duration such as 90s, 15m, 2h, 7d. Raises ValueError."""
    found = _AGO.fullmatch(text)
    if found is None:
        raise ValueError(f"{text} is no duration such as 90s, 15m, 2h or 7d")
    return int(found[1]) * _SECONDS[found[2]]


def moment(text: str) -> int:
    """Return the instant that is so long ago, or that a text with an offset names. Raises ValueError."""
    if _AGO.fullmatch(text):
        return max(0, instants.now() - seconds(text) * _MICROS)
    at = instants.parse(text)
    if at is None:
        raise ValueError(f"{text} is neither a duration such as 2h nor an instant such as 2026-11-25T10:00Z")
    return at
