"""The stores of this worker: opened for the partitions that it owns, closed for those that it does not."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path  # noqa: TC003 only a type here, but a run-time import elsewhere costs nothing

from streams.engine.outside import Clock
from streams.engine.settings import EngineSettings
from streams.engine.stores import Store
from streams.engine.stores.lock import DirectoryLock
from streams.engine.stores.memory import GroupedMemoryStore, MemoryStore
from streams.engine.stores.rocks import RocksMemory, RocksStore
from streams.errors import StoreDamagedError

#: The part of the time that tombstones are kept after which a store is not relied upon any more.
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

        `damaged` is told of a store that turns out to be damaged while it is in use, by whichever thread finds it.
        Raises DataDirectoryError.
        """
        self._grouped = dict(tables)
        self._clock = clock
        # A store that has not seen a tombstone in time would keep what it deletes.
        self._stale_after_s = settings.tombstones_s * _CERTAIN
        self._damaged = damaged
        self._set_aside: list[str] = []
        self._directory: Path | None = None
        if settings.data_dir is not None:
            self._directory = settings.data_dir / settings.app_id
            self._lock = DirectoryLock(self._directory)
            self._memory = RocksMemory(settings.rocksdb_memory_bytes)
        self._open: dict[tuple[str, int], Store] = {}

    def own(self, partitions: Iterable[int]) -> dict[tuple[str, int], Store]:
        """Open the stores of these partitions and close all others; what was open stays as it is. Blocking."""
        numbers = list(partitions)
        wanted = {(table, partition) for table in self._grouped for partition in numbers}
        for at in self._open.keys() - wanted:
            self._open.pop(at).close()
        for at in sorted(wanted - self._open.keys()):
            self._open[at] = self._new(*at)
        return dict(self._open)

    def set_aside(self) -> list[str]:
        """Return the tables of the stores that were set aside since the last call, because they were damaged."""
        tables, self._set_aside = self._set_aside, []
        return tables

    def close(self) -> None:
        """Close all stores, and leave the data directory to others."""
        self.own(())
        if self._directory is not None:
            self._lock.release()

    def _new(self, table: str, partition: int) -> Store:
        if self._directory is not None:
            path = self._directory / table / str(partition)
            store = RocksStore(path, self._memory, self._clock, self._stale_after_s, self._damaged)
            if store.set_aside is not None:
                self._set_aside.append(table)
            return store
        return GroupedMemoryStore() if self._grouped[table] else MemoryStore()
