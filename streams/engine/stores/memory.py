"""Stores in memory: fast, as large as the partition, read again from the changelog at each start."""

from collections.abc import Iterator
from itertools import chain


class _Marks:
    """What a store remembers besides its rows."""

    def __init__(self) -> None:
        """Start at the beginning of the changelog."""
        self.position = 0
        self.mark = 0
        self.partitions = 0
        self.topic = 0
        self.generation = 0

    def save_position(self, position: int) -> None:
        """Store the changelog position."""
        self.position = position

    def advance(self, position: int) -> None:
        """Store a position from which more is to be read."""
        self.position = position

    def save_mark(self, mark: int) -> None:
        """Raise the mark."""
        self.mark = max(self.mark, mark)

    def save_partitions(self, partitions: int) -> None:
        """Store the partition count with which the table was made."""
        self.partitions = partitions

    def save_topic(self, topic: int) -> None:
        """Store which changelog the position is about."""
        self.topic = topic

    def _start_over(self) -> None:
        self.position = self.mark = self.partitions = self.topic = 0
        self.generation += 1

    def close(self) -> None:
        """Nothing is held."""


class MemoryStore(_Marks):
    """A partition of a table whose keys are looked up one by one."""

    def __init__(self) -> None:
        """Start empty, at the beginning of the changelog."""
        super().__init__()
        self._values: dict[bytes, bytes] = {}
        self.get = self._values.get
        self.put = self._values.__setitem__

    def delete(self, key: bytes) -> None:
        """Remove a key if it is there."""
        self._values.pop(key, None)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys with a prefix; reads the whole table."""
        return iter([item for item in self._values.items() if item[0].startswith(prefix)])

    def clear(self) -> None:
        """Empty the store and start over."""
        self._values.clear()
        self._start_over()


class GroupedMemoryStore(_Marks):
    """A partition of a table whose keys are also read by group (`stores.group_key`)."""

    def __init__(self) -> None:
        """Start empty, at the beginning of the changelog."""
        super().__init__()
        self._groups: dict[bytes, dict[bytes, bytes]] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, None if there is none."""
        group = self._groups.get(key[: 4 + int.from_bytes(key[:4])])
        return None if group is None else group.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value of a key."""
        prefix = key[: 4 + int.from_bytes(key[:4])]
        group = self._groups.get(prefix)
        if group is None:
            group = self._groups[prefix] = {}
        group[key] = value

    def delete(self, key: bytes) -> None:
        """Remove a key if it is there."""
        prefix = key[: 4 + int.from_bytes(key[:4])]
        group = self._groups.get(prefix)
        if group is not None:
            group.pop(key, None)
            if not group:
                del self._groups[prefix]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the members of a group, or everything, group by group, for the empty prefix."""
        if not prefix:
            return chain.from_iterable(list(group.items()) for group in list(self._groups.values()))
        return iter(list(self._groups.get(prefix, {}).items()))

    def clear(self) -> None:
        """Empty the store and start over."""
        self._groups.clear()
        self._start_over()
