"""Spools abandoned by a bridge that had more workers: their events are moved into this worker's spool."""

import asyncio
import functools
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

from bridge.delivery.spool.file import SpoolFile, StoredEvent, listed
from bridge.delivery.spool.spool import Spool
from bridge.errors import NotStoredError, SpoolError, SpoolFullError, SpoolInUseError
from bridge.metrics import Metrics
from openbsp.log import event
from openbsp.threads import in_thread, settle, to_its_end

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 20.0
_FULL_WAIT_S = 1.0
_MOST_FULL_WAITS = 30
_WINDOW_EVENTS = 500
_WINDOW_BYTES = 8 * 1024 * 1024


def spool_path(directory: Path, worker: int) -> Path:
    """Return the spool file of a worker."""
    return directory / f"spool-{worker}.db"


class Leftovers:
    """Adopts the spools in a directory whose workers no longer exist.

    Half of this worker's spool is left to its own events: those of the others are as safe where they are.
    """

    def __init__(
        self,
        spool: Spool,
        path: Path,
        workers: int,
        between: Callable[[SpoolFile], Awaitable[None]],
        metrics: Metrics,
    ) -> None:
        """Adopt into `spool`, whose file is at `path`, all spools but the `workers` numbered from its own on.

        `between` is called with a file that is being adopted, at moments when each event is in exactly one of the two
        files.
        """
        self._spool = spool
        self._between = between
        self._metrics = metrics
        #: Of the files that were set aside, those told: each look finds a log without its file again.
        self._told: set[Path] = set()
        self._directory = path.parent
        first = int(path.stem.rpartition("-")[2])
        self._own = {spool_path(self._directory, number) for number in range(first, first + workers)}

    async def run(self) -> None:
        """Look for them repeatedly: a former bridge may still be shutting down."""
        while True:
            found = listed(self._directory, "spool-*.db")
            adopted = [await self._adopt(path) for path in found if path not in self._own]
            self._metrics.spools_not_adopted.set(adopted.count(False))
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _adopt(self, path: Path) -> bool:
        """Take its events over. Returns False if some are left in it that no worker has."""
        try:
            file = await in_thread(SpoolFile, path)
        except SpoolInUseError:
            return True
        except SpoolError as error:
            _log.error("an abandoned spool cannot be adopted: %s", error, extra=event("spool.not_adopted"))
            return False
        self._spool.tell_damaged(aside for aside in file.set_aside if aside not in self._told)
        self._told.update(file.set_aside)
        adopted = 0
        try:
            await to_its_end(file.release_quarantine)
            await self._between(file)
            no_room = 0
            while rows := await to_its_end(file.read, None, _WINDOW_EVENTS, _WINDOW_BYTES):
                stored = await self._store(rows)
                await to_its_end(file.delete, stored)
                adopted += len(stored)
                await self._between(file)
                no_room = 0 if stored else no_room + 1
                if no_room == _MOST_FULL_WAITS:
                    # Nobody else could have it meanwhile, a bridge that is started again neither, nor its metric tell.
                    full = event("spool.no_room_to_adopt", events=adopted)
                    _log.warning(
                        "%s waits for room in this worker's spool; its events are safe there", path, extra=full
                    )
                    return False
                if len(stored) < len(rows):
                    await asyncio.sleep(_FULL_WAIT_S)
            if await to_its_end(file.quarantined):
                left = event("spool.damaged_left_behind")
                _log.error("%s: damaged events are left in its quarantine", path, extra=left)
                return False
            await to_its_end(file.remove)
            done = event("spool.adopted", events=adopted)
            _log.warning("%s was abandoned; its %d events are adopted", path, adopted, extra=done)
        except (sqlite3.Error, NotStoredError, OSError) as error:
            paused = event("spool.adoption_paused", events=adopted)
            _log.error("%s: adopting its events paused: %s", path, error, extra=paused)
            return False
        finally:
            file.close()
        return True

    async def _store(self, rows: list[StoredEvent]) -> list[StoredEvent]:
        """Return the events for which there is room, once they are on the disk. Raises NotStoredError."""
        waiting: list[asyncio.Future[None]] = []
        for row in rows:
            if self._spool.size > self._spool.max_bytes // 2:
                break
            # If the adoption is stopped, the event is in both files until the next one.
            stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            try:
                self._spool.put(row.received_at, row.body, functools.partial(settle, stored, None))
            except SpoolFullError:
                break
            waiting.append(stored)
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            if outcome is not None:
                raise outcome
        return rows[: len(waiting)]
