"""Event ids: how far a client has been told, as text that it gives back when it reconnects.

`0:17,1:4@1778038763`: all changes before offset 17 of partition 0 and 4 of partition 1, told in that second.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

_TEXT = re.compile(r"(\d{1,9}:\d{1,18}(?:,\d{1,9}:\d{1,18})*)@(\d{1,12})", re.ASCII)

#: What is older is forgotten: compaction may have removed the tombstones of what was deleted since.
KEPT_S = 3600


class Told(NamedTuple):
    """Positions by partition, and the second in which they were told."""

    positions: Mapping[int, int]
    at: int


def text(positions: Mapping[int, int], now: float) -> str:
    """Return the id."""
    return f"{','.join(f'{partition}:{position}' for partition, position in positions.items())}@{int(now)}"


def parse(given: str) -> Told | None:
    """Read an id; None if it is none."""
    match = _TEXT.fullmatch(given)
    if match is None:
        return None
    pairs = (pair.split(":") for pair in match[1].split(","))
    return Told({int(partition): int(position) for partition, position in pairs}, int(match[2]))


def resumable(given: str | None, partitions: frozenset[int], now: float) -> dict[int, int] | None:
    """Return the positions of these partitions from which a client can go on, None if it has to begin anew."""
    told = None if given is None else parse(given)
    if told is None or not partitions <= told.positions.keys() or not now - KEPT_S <= told.at <= now + KEPT_S:
        return None
    return {partition: told.positions[partition] for partition in partitions}
