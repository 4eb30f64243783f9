"""Event ids: how far a client has been sent events, as text that it returns when it reconnects.

`0:17,1:4@1778038763~5f0c`: all changes before offset 17 of partition 0 and 4 of partition 1 of the topic with that id,
sent in that second.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

_TEXT = re.compile(r"(\d{1,9}:\d{1,18}(?:,\d{1,9}:\d{1,18})*)@(\d{1,12})(?:~([0-9a-f]{1,16}))?", re.ASCII)

#: Older positions are discarded: compaction may have removed the tombstones of what was deleted since.
KEPT_S = 3600


class Sent(NamedTuple):
    """Positions by partition, the second in which they were sent, and the id of their topic if it was known."""

    positions: Mapping[int, int]
    at: int
    topic: int | None = None


def text(positions: Mapping[int, int], now: float, topic: int | None = None) -> str:
    """Return the id."""
    places = ",".join(f"{partition}:{position}" for partition, position in positions.items())
    return f"{places}@{int(now)}" + ("" if topic is None else f"~{topic:x}")


def parse(given: str) -> Sent | None:
    """Parse an id; None if it is invalid."""
    match = _TEXT.fullmatch(given)
    if match is None:
        return None
    pairs = (pair.split(":") for pair in match[1].split(","))
    sent = {int(partition): int(position) for partition, position in pairs}
    return Sent(sent, int(match[2]), None if match[3] is None else int(match[3], 16))


def resumable(given: str | None, partitions: frozenset[int], now: float) -> Sent | None:
    """Return the positions of these partitions from which a client can resume, None if it has to start over."""
    sent = None if given is None else parse(given)
    if sent is None or not partitions <= sent.positions.keys() or not now - KEPT_S <= sent.at <= now + KEPT_S:
        return None
    return sent._replace(positions={partition: sent.positions[partition] for partition in partitions})
