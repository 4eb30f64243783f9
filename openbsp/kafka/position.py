"""The position of a record, as commands, receipts and clients write it: `topic:partition:offset`."""

import re
from typing import NamedTuple

_POSITION = re.compile(r"(?:([a-zA-Z0-9._-]+):)?([0-9]{1,9}):([0-9]{1,18})")


class Position(NamedTuple):
    """The position of a record."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """Return it as `position_of` reads it."""
        return f"{self.topic}:{self.partition}:{self.offset}"


def position_of(text: str, topic: str = "") -> Position | None:
    """Read `topic:partition:offset`, or `partition:offset`, which is one of `topic`; None if it is neither."""
    match = _POSITION.fullmatch(text)
    return None if match is None else Position(match[1] or topic, int(match[2]), int(match[3]))
