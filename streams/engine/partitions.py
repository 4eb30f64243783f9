"""The stores of this worker: opened for owned partitions, closed for others."""

import functools
import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from openbsp.log import event
from streams.engine.errors import DataDirectoryError, StoreDamagedError
from streams.engine.outside import Clock
from streams.engine.settings import EngineSettings
from streams.engine.stores import Store
from streams.engine.stores.identity import identity
from streams.engine.stores.lock import DirectoryLock
from streams.engine.stores.memory import GroupedMemoryStore, MemoryStore
from streams.engine.stores.rocks import RocksMemory, RocksStore

logger = logging.getLogger(__name__)

_Store = TypeVar("_Store")

#: The part of the tombstones' retention after which a store is no longer relied upon.
_CERTAIN = 6 / 7


class Stores:
    """Keeps a store for each table and owned partition."""

    def __init__(
        self,
        settings: EngineSettings,
        tables: Sequence[tuple[str, bool]],
        clock: Clock,
        damaged: Callable[[StoreDamagedError], None] = lambda _: None,
    ) -> None:
        """Open nothing yet, but take the data directory; `tables` have names, and groups or not.

        `damaged` is called for the store of an owned partition that turns out to be damaged while it is in use, by
        whichever thread finds it. Raises DataDirectoryError.
        """
        self._grouped = dict(tables)
        self._clock = clock
        # A store that has not read a tombstone in time would keep what it deletes.
        self._stale_after_s = settings.tombstones_s * _CERTAIN
        self._damaged = damaged
        self._set_aside: list[str] = []
        self._directory: Path | None = None
        #: The name of the data directory, which no other process has; None if there is none.
        self.identity: str | None = None
        if settings.data_dir is not None:
            self._directory = settings.data_dir / settings.app_id
            self._lock = DirectoryLock(self._directory, settings.data_dir_setting)
            self.identity = _identity(self._directory)
            self._memory = RocksMemory(settings.rocksdb_memory_bytes)
        self._open: dict[tuple[str, int], Store] = {}
        #: Which of them are standby copies.
        self._copies: set[tuple[str, int]] = set()
        # What is removed from the directory must not be opened meanwhile.
        self._opening = threading.Lock()
        self._released = False

    def own(self, partitions: Iterable[int], standbys: Iterable[int] = ()) -> dict[tuple[str, int], Store]:
        """Open the stores of these partitions and close all others; open ones stay as they are. Blocking.

        Those of the standby copies stay open as well, and are opened by `open_copy`, if they are not.
        """
        numbers = list(partitions)
        owned = {(table, partition) for table in self._grouped for partition in numbers}
        copies = {(table, partition) for table in self._grouped for partition in standbys} - owned
        wanted = owned | copies
        with self._opening:
            # One that could not be followed for as long as tombstones are kept is judged like any that is opened.
            promoted = self._copies & owned & self._open.keys()
            judged = {at for at in promoted if is_stale(self._open[at]) or damage(self._open[at])}
            self._copies = copies
            leaving = [self._open.pop(at) for at in sorted((self._open.keys() - wanted) | judged)]
            for store in leaving:
                # Before the first is closed: a compaction that ends there would go on with the next one, and block
                # that.
                if isinstance(store, RocksStore):
                    store.leave()
            _each(leaving, lambda store: store.close())
            for at in sorted(owned - self._open.keys()):
                self._open[at] = self._new(*at)
            return {at: store for at, store in self._open.items() if at in owned}

    @property
    def copies(self) -> list[tuple[str, int]]:
        """Return the partitions of tables with standby copies."""
        return sorted(self._copies)

    def open_copy(self, at: tuple[str, int]) -> Store:
        """Return the store of a standby copy. Blocking."""
        with self._opening:
            if at not in self._open:
                self._open[at] = self._new(*at)
            return self._open[at]

    def start_over(self, at: tuple[str, int], why: str) -> Store:
        """Set aside a standby copy that cannot go on, and return an empty store in its place. Blocking."""
        with self._opening:
            # It is not open if a new store could not be made before.
            store = self._open.pop(at, None)
            if store is not None:
                if isinstance(store, RocksStore):
                    store.distrust(why)
                else:
                    store.clear()
                store.close()
            self._open[at] = self._new(*at)
            return self._open[at]

    @property
    def compacted_at(self) -> int | None:
        """The oldest compaction time of the open stores; None if none is on a disk."""
        return min((store.compacted_at for store in self._on_disk()), default=None)

    def tidy(self, interval_s: float) -> None:
        """Compact the open stores that were not for so many seconds, and remove files that were not used for as long.

        Blocking, in a thread of its own, for as long as it takes. Failures are logged and retried by the next call.
        """
        if self._directory is None:
            return
        for store in sorted(self._on_disk(), key=lambda store: store.compacted_at):
            began = self._clock.time()
            if began - store.compacted_at < interval_s:
                break
            try:
                done = store.compact()
            except Exception:
                logger.exception("a store cannot be compacted: %s", store.path, extra=event("store.not_compacted"))
                continue
            if done:
                took_s = self._clock.time() - began
                extra = event("store.compacted", path=str(store.path), seconds=round(took_s, 1))
                logger.info("%s is compacted: nothing of rows that were deleted is in it", store.path, extra=extra)
        self._remove_unused(self._directory, interval_s)

    def _remove_unused(self, directory: Path, interval_s: float) -> None:
        """Remove leftovers of partitions that moved away and of damaged stores."""
        for table in self._grouped:
            for path in sorted((directory / table).glob("*")):
                number, _, rest = path.name.partition(".")
                if not number.isdecimal() or rest not in {"", "damaged"}:
                    continue
                with self._opening:
                    if self._released:
                        return  # they may be another worker's
                    in_use = not rest and (table, int(number)) in self._open
                    if in_use or self._clock.time() - _last_written(path) < interval_s:
                        continue
                    try:
                        shutil.rmtree(path)
                    except OSError as error:
                        logger.error("%s cannot be removed: %s", path, error, extra=event("store.not_removed"))  # noqa: TRY400 a sentence says it
                        continue
                unused = event("store.removed", path=str(path))
                logger.info("%s is removed: it was not used for %.0f s", path, interval_s, extra=unused)

    def _on_disk(self) -> Iterator[RocksStore]:
        return (store for store in list(self._open.values()) if isinstance(store, RocksStore))

    def set_aside(self) -> list[str]:
        """Return the tables of the stores that were set aside since the last call, because they were damaged."""
        tables, self._set_aside = self._set_aside, []
        return tables

    def flush(self) -> None:
        """Write what is in memory of all stores to their disk, if they have one. Blocking.

        Damaged copies are left out. Raises the first failure, after all have been tried.
        """
        stores = [store for at, store in list(self._open.items()) if at not in self._copies or damage(store) is None]
        _each((store for store in stores if isinstance(store, RocksStore)), RocksStore.flush)

    def close(self) -> None:
        """Close all stores, and release the data directory. Blocking."""
        self.own(())
        if self._directory is not None:
            with self._opening:
                self._released = True
                self._lock.release()

    def _new(self, table: str, partition: int) -> Store:
        if self._directory is not None:
            path = self._directory / table / str(partition)
            found = functools.partial(self._found, (table, partition))
            store = RocksStore(path, self._memory, self._clock, self._stale_after_s, found)
            if store.set_aside is not None:
                self._set_aside.append(table)
            return store
        return GroupedMemoryStore() if self._grouped[table] else MemoryStore()

    def _found(self, at: tuple[str, int], error: StoreDamagedError) -> None:
        # A copy is of no use to anybody yet: whoever follows it makes it again. One that is given up is not open here.
        if at in self._open and at not in self._copies:
            self._damaged(error)


def _each(stores: Iterable[_Store], act: Callable[[_Store], object]) -> None:
    """Do something to each store, also if that fails for another one, and raise the first failure after that."""
    failures: list[Exception] = []
    for store in stores:
        try:
            act(store)
        except Exception as error:  # noqa: BLE001 the others have to be written all the same
            failures.append(error)
    if failures:
        raise failures[0]


def damage(store: Store) -> str | None:
    """Return the damage that was found in an open store, None if there is none."""
    return store.damage if isinstance(store, RocksStore) else None


def is_stale(store: Store) -> bool:
    """Return whether a store was last known to be complete so long ago that tombstones after it may be gone."""
    return isinstance(store, RocksStore) and store.is_stale


def _identity(directory: Path) -> str:
    try:
        return identity(directory)
    except OSError as error:
        raise DataDirectoryError(f"{directory}: cannot be used: {error.strerror}") from error


def _last_written(directory: Path) -> float:
    """Return when a store was last written to, in seconds since 1970."""
    times = [directory.stat().st_mtime]
    times += [path.stat().st_mtime for path in directory.iterdir() if path.is_file()]
    return max(times)
