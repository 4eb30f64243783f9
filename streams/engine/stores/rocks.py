"""Stores in RocksDB: as large as the disk, and a restart reads only what is new in the changelog.

The write-ahead log is off: the changelog is the log. After a crash RocksDB is as it was at some earlier moment, data
and position alike, because both are written in order to the same memtable; the rest is read from the changelog.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rocksdict import BlockBasedOptions, Cache, Options, Rdict, ReadOptions, WriteBufferManager, WriteOptions

from streams.engine.outside import Clock

_DATA = b"d"
_POSITION = b"p"
_MARK = b"m"
_SAVED_AT = b"t"


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
        self, path: Path, memory: RocksMemory, clock: Clock | None = None, stale_after_s: float = math.inf
    ) -> None:
        """Open or create it, empty if what is there was saved longer than `stale_after_s` seconds ago.

        Raises an exception of rocksdict if another process has it open.
        """
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._memory = memory
        self._clock = clock or Clock()
        self._db = self._open()
        self.position = self._number(_POSITION)
        self.mark = self._number(_MARK)
        self.generation = 0
        # Trap: what was deleted elsewhere is told by tombstones, and compaction removes those in the end.
        if self._clock.time() - self._number(_SAVED_AT) > stale_after_s:
            self.clear()

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, None if there is none."""
        value: bytes | None = self._db.get(_DATA + key)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value of a key."""
        self._db[_DATA + key] = value

    def delete(self, key: bytes) -> None:
        """Remove a key if it is there."""
        del self._db[_DATA + key]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys that begin with a prefix."""
        start = _DATA + prefix
        options = ReadOptions()
        options.set_iterate_upper_bound(_after(start))
        items: Iterator[tuple[Any, Any]] = self._db.items(from_key=start, read_opt=options)
        for key, value in items:
            yield key[1:], value

    def save_position(self, position: int) -> None:
        """Remember how far the changelog is in the store."""
        self.position = position
        self._db[_POSITION] = position.to_bytes(8)
        self._db[_SAVED_AT] = int(self._clock.time()).to_bytes(8)

    def save_mark(self, mark: int) -> None:
        """Raise the mark."""
        if mark > self.mark:
            self.mark = mark
            self._db[_MARK] = mark.to_bytes(8)

    def clear(self) -> None:
        """Empty the store and begin again."""
        self._db.close()
        Rdict.destroy(str(self._path), self._memory.options())
        self._db = self._open()
        self.position = self.mark = 0
        self.generation += 1

    def _open(self) -> Rdict:
        db = Rdict(str(self._path), self._memory.options())
        write = WriteOptions()
        write.disable_wal = True  # type: ignore[method-assign,assignment] # the library's stub is wrong: a property
        db.set_write_options(write)
        return db

    def _number(self, key: bytes) -> int:
        saved: bytes | None = self._db.get(key)
        return 0 if saved is None else int.from_bytes(saved)

    def close(self) -> None:
        """Write the memtable to disk and release the lock."""
        self._db.close()


def _after(prefix: bytes) -> bytes:
    # The group's prefix begins with its length, so its last byte can be 0xff, but _DATA in front of it cannot.
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1])
