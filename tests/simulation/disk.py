"""Simulated directories of workers: what is left of a store after a crash is what it was at some earlier moment.

As with RocksDB without its write-ahead log: operations reach the disk in their order, all of them when the store is
closed, and a part of them, from the beginning, when its process is killed.
"""

from collections.abc import Iterator
from copy import deepcopy
from itertools import islice
from random import Random
from typing import Any

from simulation.program import GroupedMemoryStore, MemoryStore, is_grouped

At = tuple[str, int]


class _Saved:
    """A store on disk."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.position = self.mark = self.partitions = self.topic = 0

    def apply(self, operations: Iterator[tuple[str, Any, Any]]) -> None:
        for name, key, value in operations:
            if name == "put":
                self.values[key] = value
            elif name == "delete":
                self.values.pop(key, None)
            elif name == "clear":
                self.__init__()  # type: ignore[misc] # it begins again
            else:
                setattr(self, name, value)


class Disk:
    """The directory of one worker."""

    def __init__(self, random: Random) -> None:
        self._random = random
        #: How many directories there were before this one, which is another one to the group.
        self.number = 0
        self._saved: dict[At, _Saved] = {}
        self._open: dict[At, Any] = {}

    def open(self, table: str, partition: int) -> Any:
        """Open the store of a table's partition."""
        at = table, partition
        saved = self._saved.setdefault(at, _Saved())
        store = _stores[is_grouped(table)](self, at, saved)
        self._open[at] = store
        return store

    def closed(self, at: At) -> None:
        """Save all of a store."""
        store = self._open.pop(at, None)
        if store is not None:
            self._saved[at].apply(iter(store.operations))

    def crash(self) -> None:
        """Keep of each open store what it was at some moment since it was opened."""
        for at, store in self._open.items():
            operations = store.operations
            # Mostly the last moments count: memtables are flushed now and then.
            count = self._random.choice([len(operations), self._random.randint(0, len(operations))])
            self._saved[at].apply(islice(operations, count))
        self._open.clear()

    def lose(self) -> None:
        """Forget everything; for a directory that nobody uses."""
        self._saved.clear()
        self.number += 1

    def copy_of(self, other: "Disk") -> None:
        """Become a copy of another worker's directory, as it is on its disk now."""
        self._saved = deepcopy(other._saved)


class _Durable:
    """Notes what is done to a store in memory."""

    operations: list[tuple[str, Any, Any]]

    def _start(self, disk: Disk, at: At, saved: _Saved) -> None:
        self._disk, self._at = disk, at
        self.operations = []
        for key, value in saved.values.items():
            self.put(key, value)
        self.operations.clear()
        self.position, self.mark = saved.position, saved.mark
        self.partitions, self.topic = saved.partitions, saved.topic

    def put(self, key: bytes, value: bytes) -> None:
        self.operations.append(("put", key, value))
        self.put_in_memory(key, value)

    def delete(self, key: bytes) -> None:
        self.operations.append(("delete", key, None))
        super().delete(key)  # type: ignore[misc]

    def save_position(self, position: int) -> None:
        self.operations.append(("position", None, position))
        super().save_position(position)  # type: ignore[misc]

    def advance(self, position: int) -> None:
        self.operations.append(("position", None, position))
        super().advance(position)  # type: ignore[misc]

    def save_mark(self, mark: int) -> None:
        super().save_mark(mark)  # type: ignore[misc]
        self.operations.append(("mark", None, self.mark))

    def save_partitions(self, partitions: int) -> None:
        super().save_partitions(partitions)  # type: ignore[misc]
        self.operations.append(("partitions", None, partitions))

    def save_topic(self, topic: int) -> None:
        super().save_topic(topic)  # type: ignore[misc]
        self.operations.append(("topic", None, topic))

    def clear(self) -> None:
        self.operations.append(("clear", None, None))
        super().clear()  # type: ignore[misc]

    def close(self) -> None:
        self._disk.closed(self._at)


class _Plain(_Durable, MemoryStore):
    def __init__(self, disk: Disk, at: At, saved: _Saved) -> None:
        MemoryStore.__init__(self)
        self.put_in_memory = self.__dict__.pop("put")
        self._start(disk, at, saved)


class _Grouped(_Durable, GroupedMemoryStore):
    def __init__(self, disk: Disk, at: At, saved: _Saved) -> None:
        GroupedMemoryStore.__init__(self)
        self.put_in_memory = super(_Durable, self).put
        self._start(disk, at, saved)


_stores = {False: _Plain, True: _Grouped}
