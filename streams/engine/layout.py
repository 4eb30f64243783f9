"""The layout of the tables: the partition count with which they were made.

A key's partition depends on the number of partitions. If topics get more of them, most keys move, and joining on would
keep a second state for each: the former one stays behind in the former partition. So the number is stored in the note
of each commit and in the changelogs (with the mark), and another one is refused.
"""

from collections.abc import Iterable

from streams.engine.errors import PartitionsChangedError
from streams.engine.guard import noted
from streams.engine.membership import Committed

#: The entry of a note that has the number.
NOTED = "@partitions"

_MARK_BYTES = 8


def mark_value(mark: int, partitions: int) -> bytes:
    """Return the value of a changelog's mark record."""
    return mark.to_bytes(_MARK_BYTES) + partitions.to_bytes(4)


def marked(value: bytes) -> tuple[int, int]:
    """Return mark and number of partitions of a mark record; 0 partitions if a former version wrote it."""
    return int.from_bytes(value[:_MARK_BYTES]), int.from_bytes(value[_MARK_BYTES:])


def remembered(committed: Iterable[Committed]) -> set[int]:
    """Return the partition counts in the notes of commits."""
    return {count for left in committed if (count := noted(left.note).get(NOTED)) is not None}


def check(group: str, known: Iterable[int], partitions: int) -> None:
    """Raise PartitionsChangedError if tables were made with another number of partitions; 0 is unknown."""
    others = sorted(set(known) - {0, partitions})
    if others:
        raise PartitionsChangedError(
            f"the tables of group {group} were made with {others[0]} partitions, the topics have {partitions} now: "
            "a key that moves to another partition would get a second state, so nothing is joined",
            others[0],
        )
