"""Tables: values by key, each partition with its changelog.

A program declares a table once. While a partition of it is owned, there is a `TablePartition` with its bytes, and over
it the program's `Contents`: caches, derived values, other records to write when a row changes.
"""

import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from streams.engine.layout import mark_value
from streams.engine.source import Record
from streams.engine.stores import MARK_KEY, Store


class Sender(Protocol):
    """Writes records, as part of the open checkpoint."""

    def write(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int = -1, headers: Any = None
    ) -> None:
        """Write a record. Without a partition its key decides (murmur2)."""


class TablePartition:
    """One owned partition of a table, bytes to bytes.

    A set value is in the store at once, and in the changelog with the next flush, once a key. A deleted key is deleted
    from both at once. Only keys and values are written: everything is safe to repeat.

    A body sets a value again even if it is already there: after a crash a store on disk may have values that the
    changelog never got, and only set ones are written to it.
    """

    def __init__(  # noqa: PLR0917 what it is of, and how far that is
        self,
        number: int,
        store: Store,
        changelog: str,
        sender: Sender,
        position: Callable[[], int] = lambda: 0,
        caught_up: Callable[[], bool] = lambda: True,
        source_end: int = sys.maxsize,
    ) -> None:
        """Take over a restored store; `position` is the offset up to which the table's source is merged.

        `caught_up` returns whether all that former owners can have read of the partition is in the tables, `source_end`
        is the end of the source at the takeover.
        """
        self.number = number
        self.store = store
        self.changelog = changelog
        self.get = store.get
        self.scan: Callable[[bytes], Iterator[tuple[bytes, bytes]]] = store.scan
        self._put = store.put
        self._sender = sender
        self._position = position
        self.caught_up = caught_up
        self._unwritten: dict[bytes, bytes] = {}
        # Records before the mark may have been merged before, by this worker or another. Trap: a source that was
        # created again has these offsets once more.
        self._seen_until = min(store.mark, source_end)

    def __getitem__(self, key: bytes) -> bytes:
        """Return the value of a key. Raises KeyError."""
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __contains__(self, key: bytes) -> bool:
        """Return whether a key has a value."""
        return self.get(key) is not None

    def __setitem__(self, key: bytes, value: bytes) -> None:
        """Set the value of a key."""
        self._put(key, value)
        self._unwritten[key] = value

    def __delitem__(self, key: bytes) -> None:
        """Remove a key, in the changelog even if it is not there."""
        self.store.delete(key)
        self.retract(key)

    def retract(self, key: bytes) -> None:
        """Write a key's tombstone to the changelog; it stays here until it is deleted."""
        self._unwritten.pop(key, None)
        self._sender.write(self.changelog, key, None, self.number)

    def rewrite(self, key: bytes) -> None:
        """Write a key to the changelog once more, over a foreign record."""
        self._unwritten.pop(key, None)
        self._sender.write(self.changelog, key, self.get(key), self.number)

    def mark(self) -> None:
        """Record how far the table's source is merged, before any value that results from it is set.

        A reader that finds merged values finds the mark: earlier events may be in them (`seen`), later ones are not.
        """
        self.store.save_mark(self._position())
        self.write_mark()

    def made_with(self, partitions: int) -> None:
        """Record the partition count of the table, in the changelog as well, with the mark as it is."""
        self.store.save_partitions(partitions)
        self.write_mark()

    def write_mark(self) -> None:
        """Write the mark to the changelog once more, as it is."""
        store = self.store
        self._sender.write(self.changelog, MARK_KEY, mark_value(store.mark, store.partitions), self.number)

    def seen(self, event: Record) -> bool:
        """Return whether an event of the table's source may have been merged before this worker took over."""
        return event.offset < self._seen_until

    def flushing(self) -> Iterator[None]:
        """Write the values set since the last time to the changelog, in steps."""
        write, changelog, number = self._sender.write, self.changelog, self.number
        for key, value in self._unwritten.items():
            write(changelog, key, value, number)
            yield
        self._unwritten.clear()


class Contents(Protocol):
    """A program's data over a partition of a table. All calls come between two events, never within one.

    Long work is done in steps, between which tasks that only read may run; no event is merged meanwhile.
    """

    def publishing(self) -> Iterator[None]:
        """Write what others wait for: at the end of each batch, and before each flush."""

    def flushing(self) -> Generator[None, None, int | None]:
        """Write everything that has changed since the last time.

        Returns when the oldest causing event was received (microseconds since 1970), None if unknown.
        """

    def rewrite(self, topic: str, key: bytes) -> None:
        """Write the right value of a guarded log's key once more, over a foreign record."""


class PlainContents:
    """Only the bytes."""

    def __init__(self, partition: TablePartition) -> None:
        """Take over a restored partition."""
        self.rows = partition

    def publishing(self) -> Iterator[None]:
        """See Contents."""
        return iter(())

    def flushing(self) -> Generator[None, None, int | None]:
        """See Contents."""
        yield from self.rows.flushing()
        return None

    def rewrite(self, topic: str, key: bytes) -> None:
        """See Contents."""
        del topic
        self.rows.rewrite(key)


def last_wins(key: bytes, a: bytes, b: bytes) -> bytes:
    """Return the later value. Right only for values that do not depend on earlier ones."""
    del key, a
    return b


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """A table's declaration. Logs are named without the prefix of the topics."""

    #: The source whose events are merged into it; the table's marks are offsets of it.
    source: str
    changelog: str
    #: Further logs that only the owner of a partition writes, all derived from the table, by its keys or, if it is
    #: grouped, its groups.
    guarded: tuple[str, ...] = ()
    #: Joins two values of a key, either of which may be the newer one. Idempotent, commutative, associative.
    join: Callable[[bytes, bytes, bytes], bytes] = last_wins
    #: Keys are group keys (`stores.group_key`), and groups are scanned.
    grouped: bool = False
    contents: Callable[[TablePartition], Contents] = PlainContents

    @property
    def logs(self) -> tuple[str, ...]:
        """All logs that only the owner of a partition writes."""
        return (self.changelog, *self.guarded)


@dataclass(slots=True)
class OwnedTable:
    """A table while partitions of it are owned."""

    spec: TableSpec
    contents: Mapping[int, Any] = field(default_factory=dict)
    rows: Mapping[int, TablePartition] = field(default_factory=dict)
