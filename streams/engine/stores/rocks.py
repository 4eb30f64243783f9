"""Stores in RocksDB: as large as the disk, and a restart reads only new records of the changelog.

The write-ahead log is off: the changelog is the log. After a crash RocksDB is as it was at some earlier moment, data
and position alike, because both are written in order to the same memtable; the rest is read from the changelog.

A damaged store is a damaged copy: it is set aside (renamed, the last one kept), and an empty one takes its place.

Overwritten or deleted data stays in RocksDB's files until it compacts them, in its own time. To limit that time, each
store is compacted once in an interval.
"""

import contextlib
import logging
import math
import os
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from rocksdict import BlockBasedOptions, Cache, Options, Rdict, ReadOptions, WriteBufferManager, WriteOptions

from openbsp.log import event
from streams.engine.errors import CompactionError, StoreDamagedError, StoreDiskError
from streams.engine.outside import Clock

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_DATA = b"d"
_POSITION = b"p"
_MARK = b"m"
_PARTITIONS = b"n"
_TOPIC = b"i"
_SAVED_AT = b"t"
_COMPACTED_AT = b"v"

#: A store found damaged while in use, or not to be used, has a file of this name.
_FOUND_DAMAGED = "damaged"

#: RocksDB's messages about damage. A full disk, missing permissions and the like damage nothing.
_DAMAGE = ("Corruption", "No such file or directory")
#: How all others begin that an operating system has caused.
_DISK = "IO error"
#: How it refuses a write that would have to wait.
_WOULD_WAIT = "Write stall"
#: Seconds until it is tried again.
_LOOK_EVERY_S = 0.001
#: Seconds between two looks at whether writes are still slowed down.
_SLOWED_EVERY_S = 0.02


class RocksMemory:
    """The memory that all stores of a process share."""

    def __init__(self, limit_bytes: int) -> None:
        """Divide the limit between block cache and write buffers."""
        self.cache = Cache(limit_bytes // 2)
        self.write_buffers = WriteBufferManager(limit_bytes // 2, allow_stall=False)
        self.write_buffer_size = max(1 << 20, limit_bytes // 32)

    def options(self) -> Options:
        """Return the options of one store."""
        blocks = BlockBasedOptions()
        blocks.set_block_cache(self.cache)
        blocks.set_bloom_filter(10, block_based=False)
        blocks.set_cache_index_and_filter_blocks(True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)  # noqa: FBT003 the library takes it by position
        options.set_block_based_table_factory(blocks)
        options.set_write_buffer_manager(self.write_buffers)
        options.set_write_buffer_size(self.write_buffer_size)
        options.set_max_background_jobs(2)
        options.set_keep_log_file_num(1)
        return options


class RocksStore:
    """A partition of a table on disk."""

    def __init__(
        self,
        path: Path,
        memory: RocksMemory,
        clock: Clock | None = None,
        stale_after_s: float = math.inf,
        damaged: Callable[[StoreDamagedError], None] = lambda _: None,
    ) -> None:
        """Open or create it, empty if the existing one was saved longer than `stale_after_s` seconds ago.

        A damaged one is set aside, and `set_aside` says why. `damaged` is called for damage that is found later, by the
        thread that finds it, and `damage` says what. Raises an exception of rocksdict if another process has it open.
        """
        self._stale_after_s = stale_after_s
        self.path = path
        self._memory = memory
        self._clock = clock or Clock()
        self._damaged = damaged
        self.set_aside: str | None = None
        self.damage: str | None = None
        self._former = False
        self.generation = 0
        # Trap: the library does not close a store while another thread is in a call that takes long.
        self._use = threading.Lock()
        self._closed = False
        try:
            self._begin()
        except StoreDamagedError as error:
            self._set_aside(str(error))
            self._begin()

    def _begin(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if (self.path / _FOUND_DAMAGED).exists():
            why = (self.path / _FOUND_DAMAGED).read_text("utf-8") or "damage was found in it while it was in use"
            raise StoreDamagedError(f"{self.path}: {why}")
        self._db = self._checked(self._open)
        try:
            self.position = self._number(_POSITION)
            self.mark = self._number(_MARK)
            self.partitions = self._number(_PARTITIONS)
            self.topic = self._number(_TOPIC)
            self._saved_at: float = self._number(_SAVED_AT)
            #: When its files last had no data deleted before then, in seconds since 1970.
            self.compacted_at = self._number(_COMPACTED_AT)
        except StoreDamagedError:
            self._db.close()
            raise
        # Trap: deletes on other workers are known by tombstones, and compaction removes those in the end.
        if self._former or self.is_stale:
            self.clear()
        if not self.compacted_at and not self.position:
            self._save_compacted(self._clock.time())  # it is new, and empty

    @property
    def is_stale(self) -> bool:
        """Whether its position was saved so long ago that tombstones after it may be gone."""
        return self._clock.time() - self._saved_at > self._stale_after_s

    def distrust(self, why: str) -> None:
        """Mark it to be set aside when it is opened next, unless all of it has been removed."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / _FOUND_DAMAGED).write_text(why, "utf-8")

    def _set_aside(self, why: str) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged")
        if aside.exists():
            shutil.rmtree(aside)
        self.path.rename(aside)
        os.utime(aside)  # the time from which its retention counts
        self.set_aside = why
        logger.error(
            "%s. It is kept as %s, and the table is read from its changelog",
            why,
            aside.name,
            extra=event("store.set_aside"),
        )

    def _checked(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the function's result. Raises StoreDamagedError for RocksDB's messages about damage."""
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise self._judged(error) from error

    def _judged(self, error: Exception) -> Exception:
        """Return the exception to raise for an error of rocksdict, which has one class for all."""
        if any(word in str(error) for word in _DAMAGE):
            return StoreDamagedError(f"{self.path}: {error}")
        if _DISK in str(error):
            return StoreDiskError(
                f"{self.path}: its disk cannot be used: {error}. Nothing is lost: make room on it, or correct what the "
                "message says, and the next start goes on"
            )
        return error

    def _found(self, error: Exception) -> Exception:
        """Record that the store in use is damaged, for when it is opened next; return the exception to raise."""
        judged = self._judged(error)
        if isinstance(judged, StoreDamagedError):
            self.damage = str(error)
            # First: a full disk takes no mark.
            self._damaged(judged)
            self.distrust(self.damage)
        return judged

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, None if there is none."""
        try:
            value: bytes | None = self._db.get(_DATA + key)
        except Exception as error:
            raise self._found(error) from error
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value of a key."""
        self._write(self._db.put, _DATA + key, value)

    def delete(self, key: bytes) -> None:
        """Remove a key if it is there."""
        self._write(self._db.delete, _DATA + key)

    def _write(self, write: Callable[..., object], *row: bytes) -> None:
        """Write as soon as RocksDB takes it without a wait.

        Trap: a write that RocksDB lets wait never ends while the disk is full. So none waits in there, and one that is
        tried after a flush has failed raises why.
        """
        failures: int | None = None
        failed, size = False, sum(map(len, row))
        while True:
            try:
                write(*row)
            except Exception as error:
                if _WOULD_WAIT not in str(error):
                    raise self._found(error) from error
            else:
                return
            if failed:
                raise StoreDiskError(
                    f"{self.path}: its disk cannot be used: RocksDB has stopped writes and failed to make room for "
                    "more; its LOG says why. Nothing is lost: correct that, and the next start goes on"
                )
            # Trap: it counts from when the store was opened, also what was overcome long ago.
            counted = self._db.property_int_value("rocksdb.background-errors") or 0
            failures = counted if failures is None else failures
            if self._db.property_int_value("rocksdb.is-write-stopped"):
                failed = counted > failures
            time.sleep(_LOOK_EVERY_S)
            # Trap: where writes are slowed down to a rate, one that is refused has its turn taken all the same.
            turn_s = 2 * size / rate if (rate := self._slowed_to) else 0.0
            while turn_s > 0 and self._slowed_to:
                time.sleep(min(turn_s, _SLOWED_EVERY_S))
                turn_s -= _SLOWED_EVERY_S

    @property
    def _slowed_to(self) -> int:
        """Bytes a second that RocksDB takes; 0: as many as come."""
        return self._db.property_int_value("rocksdb.actual-delayed-write-rate") or 0

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys that begin with a prefix."""
        start = _DATA + prefix
        options = ReadOptions()
        options.set_iterate_upper_bound(_after(start))
        items: Iterator[tuple[Any, Any]] = self._db.items(from_key=start, read_opt=options)
        last = start
        try:
            for key, value in items:
                last = key + b"\0"
                yield key[1:], value
            # Trap: an unreadable block ends the library's iteration as if there were no more.
            rest = self._db.iter(options)
            rest.seek(last)
            rest.status()
        except Exception as error:
            raise self._found(error) from error

    def save_position(self, position: int) -> None:
        """Store the changelog position."""
        self._saved_at = 0.0
        self.advance(position)

    def advance(self, position: int) -> None:
        """Store a position from which more is to be read: the store is no fresher than before, if it had one."""
        self.position = position
        self._save(_POSITION, position)
        if not self._saved_at:
            self._saved_at = int(self._clock.time())
            self._save(_SAVED_AT, self._saved_at)

    def save_mark(self, mark: int) -> None:
        """Raise the mark."""
        if mark > self.mark:
            self.mark = mark
            self._save(_MARK, mark)

    def save_partitions(self, partitions: int) -> None:
        """Store the partition count with which the table was made."""
        if partitions != self.partitions:
            self.partitions = partitions
            self._save(_PARTITIONS, partitions)

    def save_topic(self, topic: int) -> None:
        """Store which changelog the position is about."""
        if topic != self.topic:
            self.topic = topic
            self._save(_TOPIC, topic)

    def clear(self) -> None:
        """Empty the store and start over."""
        with self._use:
            self._db.close()
            Rdict.destroy(str(self.path), self._memory.options())
            self._db = self._open()
        self.position = self.mark = self.partitions = self.topic = 0
        self._saved_at = 0.0
        self.generation += 1
        self._save_compacted(self._clock.time())

    def compact(self) -> bool:
        """Rewrite all current data to new files, and remove the former ones: these had the deleted data.

        Takes long, and blocks neither reads nor writes. In parts, so that closing waits for one at most; returns False
        if it was closed, or is about to be. Raises CompactionError.
        """
        begun, failed_before = self._clock.time(), self._background_errors()
        if not self.flush():
            return False
        start: Any = None
        for end in [*self._boundaries(), None]:
            if not self._part(lambda start=start, end=end: self._db.compact_range(start, end)):  # type: ignore[misc] # bound for the linter
                return False
            start = end
        if self._background_errors() > failed_before:
            # Trap: the library's call returns nothing, even if it failed.
            raise CompactionError(f"{self.path}: RocksDB could not compact all of it (a full disk?), its LOG says why")
        return self._part(lambda: self._save_compacted(begun))

    def flush(self) -> bool:
        """Write the memtable to disk; return False if the store was closed, or is about to be."""
        return self._part(lambda: self._db.flush())  # noqa: PLW0108 `clear` replaces the object

    def _background_errors(self) -> int:
        counted: list[int] = []
        self._part(lambda: counted.append(self._db.property_int_value("rocksdb.background-errors") or 0))
        return sum(counted)

    def _boundaries(self) -> list[Any]:
        """Return keys that divide the store into parts of about a file."""
        files: list[dict[str, Any]] = []
        self._part(lambda: files.extend(self._db.live_files()))
        lowest = max((file["level"] for file in files), default=0)
        return sorted({file["start_key"] for file in files if file["level"] == lowest})[1:]

    def _part(self, call: Callable[[], object]) -> bool:
        """Call this unless the store is closed or about to be; return whether it was done."""
        with self._use:
            if self._closed:
                return False
            try:
                call()
            except Exception as error:
                raise self._found(error) from error
        return True

    def _save_compacted(self, at: float) -> None:
        self.compacted_at = int(at)
        self._save(_COMPACTED_AT, self.compacted_at)

    def _open(self) -> Rdict:
        db = Rdict(str(self.path), self._memory.options())
        write = WriteOptions()
        # The library's stub is wrong: these are properties.
        write.disable_wal = True  # type: ignore[method-assign,assignment]
        write.no_slowdown = True
        db.set_write_options(write)
        return db

    def _save(self, key: bytes, number: int) -> None:
        saved = number.to_bytes(8)
        self._write(self._db.put, key, saved + zlib.crc32(key + saved).to_bytes(4))

    def _number(self, key: bytes) -> int:
        saved: bytes | None = self._checked(self._db.get, key)
        if saved is None:
            return 0
        number, checksum = saved[:8], saved[8:]
        if not checksum:
            # A former version's, without checksums: whether it is right is unknown, and reading is cheap.
            self._former = True
            return 0
        if checksum != zlib.crc32(key + number).to_bytes(4):
            raise StoreDamagedError(f"{self.path}: {saved!r} is none of the numbers that are stored as {key!r}")
        return int.from_bytes(number)

    def leave(self) -> None:
        """Stop a compaction after its current part, because the store is about to be closed."""
        self._closed = True

    def close(self) -> None:
        """Write the memtable to disk and release the lock. Waits for a part of a compaction: not for an event loop.

        Damage that keeps it from being written is found again when it is opened.
        """
        self.leave()
        with self._use:
            try:
                self._db.close()
            except Exception as error:
                judged = self._judged(error)
                if not isinstance(judged, StoreDamagedError):
                    raise judged from error
                self.distrust(str(error))
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.path)  # as above


def _after(prefix: bytes) -> bytes:
    # The group's prefix begins with its length, so its last byte can be 0xff, but _DATA in front of it cannot.
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1])
