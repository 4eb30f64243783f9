"""Tables: what is kept by key, each partition with its changelog.

A program declares a table once. While a partition of it is owned, there is a `TablePartition` with its bytes, and over
it whatever the program puts there (`Contents`): caches, derived values, what else is written when a row changes.
"""

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

    What is set is in the store at once, and in the changelog with the next flush, once a key. What is deleted is in
    both at once. Only keys and values travel: everything is safe to be repeated.

    A body sets a value again even if it finds it there: after a crash a store on disk may have what the changelog never
    got, and only what is set is written to it.
    """

    def __init__(  # noqa: PLR0917 what it is of, and how far that is
        self,
        number: int,
        store: Store,
        changelog: str,
        sender: Sender,
        position: Callable[[], int] = lambda: 0,
        caught_up: Callable[[], bool] = lambda: True,
    ) -> None:
        """Take over a restored store; `position` is the offset up to which the table's source is merged.

        `caught_up` tells whether all that any worker can have read of the partition before is in the tables.
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
        # Records before the mark may have been merged before, by this worker or another.
        self._seen_until = store.mark

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
        """Write a key to the changelog once more, over what another worker wrote by mistake."""
        self._unwritten.pop(key, None)
        self._sender.write(self.changelog, key, self.get(key), self.number)

    def mark(self) -> None:
        """Note how far the table's source is merged, before anything is set that follows from it.

        Whoever finds merged values finds the mark: what came before it may be in them (`seen`), what came later is not.
        """
        self.store.save_mark(self._position())
        self._write_mark()

    def made_with(self, partitions: int) -> None:
        """Note with how many partitions the table is made, in the changelog as well."""
        self.store.save_partitions(partitions)
        self._write_mark()

    def _write_mark(self) -> None:
        store = self.store
        self._sender.write(self.changelog, MARK_KEY, mark_value(store.mark, store.partitions), self.number)

    def seen(self, event: Record) -> bool:
        """Return whether an event of the table's source may have been merged before this worker took over."""
        return event.offset < self._seen_until

    def flushing(self) -> Iterator[None]:
        """Write what was set since the last time to the changelog, in steps."""
        write, changelog, number = self._sender.write, self.changelog, self.number
        for key, value in self._unwritten.items():
            write(changelog, key, value, number)
            yield
        self._unwritten.clear()


class Contents(Protocol):
    """What a program keeps over a partition of a table. All calls come between two events, never within one.

    What is long is done in steps, between which whatever only reads may have its turn; no event is merged meanwhile.
    """

    def publishing(self) -> Iterator[None]:
        """Write what others wait for: at the end of each batch, and before each flush."""

    def flushing(self) -> Generator[None, None, int | None]:
        """Write everything that has changed since the last time.

        Returns when the oldest of the events that led to it was received (microseconds since 1970), None if not known.
        """

    def rewrite(self, topic: str, key: bytes) -> None:
        """Write a key of a guarded log once more, as it should be, over what another worker wrote by mistake."""


class PlainContents:
    """Nothing but the bytes."""

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
    """How a table is kept. Logs are named without the prefix of the topics."""

    #: The source whose events are merged into it; the table's marks are offsets of it.
    source: str
    changelog: str
    #: Further logs that only the owner of a partition writes, all from what is in the table.
    guarded: tuple[str, ...] = ()
    #: Joins two values of a key of which either may be the newer one. Idempotent, commutative, associative.
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
