"""Stores: one partition of one table, bytes to bytes. The changelog is the truth; a store is its local copy."""

from collections.abc import Iterator
from typing import Protocol


class Store(Protocol):
    """One partition of a table.

    `position` is the changelog offset up to which (exclusive) the store is certainly complete; it may have more. `mark`
    is an offset of the table's source: earlier events may have been merged, later ones were not. `partitions` is the
    partition count with which the table was made, 0 while unknown. `topic` distinguishes the changelog that was
    read from others of its name, 0 while unknown. `generation` changes whenever anything but what this process has put
    changed the store.
    """

    position: int
    mark: int
    partitions: int
    topic: int
    generation: int

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, None if there is none."""

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value of a key."""

    def delete(self, key: bytes) -> None:
        """Remove a key if it is there."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys that begin with a group's prefix (`prefix`), with their values.

        The empty prefix stands for all groups, each in one piece, as of the start of the scan or later.
        """

    def save_position(self, position: int) -> None:
        """Store the changelog position; as durable as the data itself, and never before it."""

    def advance(self, position: int) -> None:
        """Store a position from which more is to be read: as `save_position`, but the store is no fresher than before.

        How old a store may be is about the tombstones after its position.
        """

    def save_mark(self, mark: int) -> None:
        """Raise the mark, before any value that it has to cover is put."""

    def save_partitions(self, partitions: int) -> None:
        """Store the partition count with which the table was made."""

    def save_topic(self, topic: int) -> None:
        """Store which changelog the position is about."""

    def clear(self) -> None:
        """Empty the store and start over: position, mark, partitions and topic are 0."""

    def close(self) -> None:
        """Release the store. The data stays if the store is on disk."""


#: Key of the changelog records that hold a table's mark and layout; no row has it, as ids are never empty.
MARK_KEY = b""


def prefix(group: bytes) -> bytes:
    """Return the prefix of all keys of a group; no group's prefix begins another's."""
    return len(group).to_bytes(4) + group


def group_key(group: bytes, member: bytes) -> bytes:
    """Return the key of a group's member. The empty member stands for the group itself and comes first."""
    return len(group).to_bytes(4) + group + member


def split_key(key: bytes) -> tuple[bytes, bytes]:
    """Return the group and the member of a key."""
    end = 4 + int.from_bytes(key[:4])
    return key[4:end], key[end:]
