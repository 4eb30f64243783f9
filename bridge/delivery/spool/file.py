"""The spool's file: SQLite in WAL mode with synchronous=FULL. Blocking, for one thread at a time.

When `append` returns, the events are on the disk. A file has one owner process, which holds the lock file beside it;
the bytes are readable by the owner's user only.
"""

import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from bridge.errors import SpoolError, SpoolInUseError, SpoolUnavailableError
from openbsp.files import sync_directory
from openbsp.locks import LockHeldError, is_locked, lock_file
from openbsp.sqlite import transaction

_VERSION = 1
_APPLICATION_ID = 0x6F627370  # "obsp", as file(1) sees it
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_SHRINK_ABOVE_PAGES = 4096
#: Bytes freed at a time: some 50 ms of a disk that events may be waiting for.
_SHRINK_AT_ONCE_PAGES = 1024
#: How long SQLite waits for another process that has the file, where it is indispensable.
_PATIENCE_S = 2.0
_BYTES_DAMAGED = "the bytes are not those that were written"

_TABLES = """
CREATE TABLE event (
  -- AUTOINCREMENT: a number is never used twice, so that deleting by number cannot hit a newer event.
  seq INTEGER PRIMARY KEY AUTOINCREMENT, received_at INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE quarantine (
  seq INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL, why TEXT NOT NULL
);
CREATE TABLE memory (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class StoredEvent(NamedTuple):
    """An event in the file. `received_at` is in microseconds since the epoch; `generation` identifies the file."""

    seq: int
    received_at: int
    body: bytes
    generation: int


class Totals(NamedTuple):
    """How many events a file holds, and the bytes of their bodies."""

    events: int
    size: int


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether the file is damaged, as opposed to full, locked or unreachable."""
    # Trap: the code may be an extended one, whose low byte is the kind.
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _DAMAGE


def is_held(path: Path) -> bool:
    """Return whether a process holds the spool whose file is, or was, at `path`."""
    return is_locked(path.with_suffix(".lock"))


#: Device and inode of a file; None where there is none.
_Identity = tuple[int, int] | None


class SpoolFile:
    """One spool file, locked and open.

    If the disk fails while the file is being replaced by a new one, everything raises sqlite3.Error until it can be
    opened. The file may be removed or moved meanwhile, or its directory covered by a mount: see `displaced` and
    `recover`.
    """

    def __init__(self, path: Path, *, late: bool = False) -> None:
        """Lock and open the file at `path`, or create it. A damaged one is renamed, to `set_aside`.

        `late`: where the disk does not allow that now, `unopened` says why, and everything raises sqlite3.Error until
        it does. Raises SpoolInUseError, SpoolUnavailableError (unless `late`) and SpoolError.
        """
        self.path = path
        self.set_aside: list[Path] = []
        self.generation = 0
        self._shrinking = False
        #: What was remembered or recalled: a file that takes the place of this one has it from its beginning.
        self._memory: dict[str, str] = {}
        #: Whether the write-ahead log has bytes of former events, because another process was reading the file.
        self.unfolded = False
        self._closed = False
        #: Of the files that the connection has open, in the order of `_files`.
        self._identities: tuple[_Identity, ...] = ()
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None
        #: Why it could not be opened, None once it was.
        self.unopened: str | None = None
        try:
            self._take_lock()
            self.set_aside += self._logs_alone()
            self._connection = self._open_or_replace()
        except SpoolUnavailableError as error:
            self._release()
            if not late:
                raise
            self.unopened = str(error)
        except BaseException:
            self._release()
            raise

    def close(self) -> None:
        """Close the file and release it."""
        self._closed = True
        self._disconnect()
        self._release()

    def displaced(self) -> bool:
        """Return whether writes go to files that the next start would not find. Costs microseconds."""
        if self._connection is None:
            return False  # the next use opens the file at the path
        main, log, _ = self._identities
        path, log_path, _ = _files(self.path)
        return _identity(path) != main or _identity(log_path) != log

    def recover(self) -> Totals:
        """Move the content of displaced files back to the path, beside what may be there by now; count what is there.

        Nothing is lost: a removed file exists as long as it is open. Raises sqlite3.Error, and can be repeated.
        """
        old = self._db
        try:
            # Before any change: if it failed afterwards, the old file would pass for the one at the path.
            _make_directory(self.path.parent)
            self._lock_again()
            if _identity(self.path) == self._identities[0]:
                # The write-ahead log is gone, the file is not: after a checkpoint it has everything.
                self.make_room(_PATIENCE_S)
                # Trap: what fails after the change is not repeated, and the former numbers would stay.
                totals = self.totals()
                self._disconnect()
                self._connection = self._open()
                # Earlier rows are read again: what happens to them meanwhile is not in the current totals.
                self.generation += 1
                return totals
            # Where the file was moved, a kill before the copy is committed leaves the moved file without its log.
            with suppress(sqlite3.OperationalError):
                self.make_room()
            for path, identity in zip(_files(self.path), self._identities, strict=True):
                # Trap: a leftover part belongs to the old connection. The new one would use it as its own.
                if identity is not None and _identity(path) == identity:
                    path.unlink(missing_ok=True)
            identities = self._identities
            try:
                new = self._open_or_replace()
                totals = _copy(old, new)
            except BaseException:
                self._identities = identities
                raise
        except (OSError, SpoolError) as error:
            raise sqlite3.OperationalError(f"{self.path} is missing and cannot be created again: {error}") from error
        self._connection = new
        self.generation += 1
        old.close()
        return totals

    def _take_lock(self) -> None:
        try:
            _make_directory(self.path.parent)
            self._lock = _lock(self.path)
        except (NotADirectoryError, FileExistsError) as error:
            raise SpoolError(self.path, f"cannot be used: {error.strerror}") from error
        except OSError as error:
            raise SpoolUnavailableError(self.path, f"cannot be used: {error.strerror}") from error

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _lock_again(self) -> None:
        if self._lock is None:
            raise AssertionError("a file that was never opened is not displaced")
        held = os.fstat(self._lock)
        if _identity(self.path.with_suffix(".lock")) != (held.st_dev, held.st_ino):
            lock = _lock(self.path)
            os.close(self._lock)
            self._lock = lock

    def remove(self) -> None:
        """Delete the file, which must be empty; only `close` may follow."""
        self._disconnect()
        for path in _files(self.path):
            path.unlink(missing_ok=True)
        self.path.with_suffix(".lock").unlink(missing_ok=True)

    def append(self, events: Sequence[tuple[int, bytes]]) -> None:
        """Store `(received_at, body)` pairs, all or none. Raises sqlite3.Error."""
        rows = [(received_at, zlib.crc32(body), body) for received_at, body in events]
        with transaction(self._db):
            self._db.executemany("INSERT INTO event (received_at, crc, body) VALUES (?, ?, ?)", rows)

    def delete(self, rows: Iterable[StoredEvent]) -> None:
        """Remove events returned by `read`, all or none; those of a former file are ignored. Raises sqlite3.Error."""
        # Trap: numbers start again in a new file, where they are other events'.
        numbers = [(row.seq,) for row in rows if row.generation == self.generation]
        with transaction(self._db):
            self._db.executemany("DELETE FROM event WHERE seq = ?", numbers)

    def read(
        self,
        after: StoredEvent | None,
        count: int,
        size: int,
        on_damaged: Callable[[StoredEvent], None] = lambda _: None,
    ) -> list[StoredEvent]:
        """Return up to `count` events after `after`, in order, and no more than `size` bytes, but at least one.

        From the first one on after None, or an event of a former file. A damaged event is quarantined for good;
        `on_damaged` is called with it. Returns no events only when there are no more. Raises sqlite3.Error.
        """
        number = self._number(after)
        while True:
            found = self._rows(number, count, size)
            sound: list[StoredEvent] = []
            damaged: list[StoredEvent] = []
            for seq, received_at, crc, body in found:
                kind = sound if zlib.crc32(body) == crc else damaged
                kind.append(StoredEvent(seq, received_at, body, self.generation))
            if damaged:
                self._quarantine(damaged, _BYTES_DAMAGED)
                for row in damaged:
                    on_damaged(row)
            if sound or not found:
                return sound
            number = found[-1][0]

    def _number(self, last: StoredEvent | None) -> int:
        """Return the number of an event of this file, for others one that is before all in it."""
        return 0 if last is None or last.generation != self.generation else last.seq

    def _rows(self, after: int, count: int, size: int) -> list[tuple[int, int, int, bytes]]:
        rows: list[tuple[int, int, int, bytes]] = []
        for seq, received_at, crc, body in self._db.execute(
            "SELECT seq, received_at, crc, body FROM event WHERE seq > ? ORDER BY seq LIMIT ?", (after, count)
        ):
            size -= len(body)
            if rows and size < 0:
                break
            rows.append((seq, received_at, crc, body))
        return rows

    def quarantine(self, row: StoredEvent, why: str) -> None:
        """Move an event to the quarantine, which is not retried before the next start. Raises sqlite3.Error."""
        if row.generation == self.generation:
            self._quarantine([row], why)

    def _quarantine(self, rows: list[StoredEvent], why: str) -> None:
        with transaction(self._db):
            self._db.executemany(
                "INSERT INTO quarantine SELECT seq, received_at, crc, body, ? FROM event WHERE seq = ?",
                [(why, row.seq) for row in rows],
            )
            self._db.executemany("DELETE FROM event WHERE seq = ?", [(row.seq,) for row in rows])

    def release_quarantine(self) -> None:
        """Append the quarantined events to the others, except damaged ones. Raises sqlite3.Error."""
        with transaction(self._db):
            self._db.execute(
                "INSERT INTO event (received_at, crc, body)"
                " SELECT received_at, crc, body FROM quarantine WHERE why <> ? ORDER BY seq",
                (_BYTES_DAMAGED,),
            )
            self._db.execute("DELETE FROM quarantine WHERE why <> ?", (_BYTES_DAMAGED,))

    def totals(self) -> Totals:
        """Count what the file holds. Reads all of it."""
        return _totals(self._db)

    def oldest(self) -> int | None:
        """Return when the first event was received, None if there is none."""
        row = self._db.execute("SELECT received_at FROM event ORDER BY seq LIMIT 1").fetchone()
        return None if row is None else int(row[0])

    def quarantined(self) -> int:
        """Count the events in quarantine."""
        (count,) = self._db.execute("SELECT count(*) FROM quarantine").fetchone()
        return int(count)

    def recall(self, name: str) -> str | None:
        """Return the value passed to `remember`, here or else with another spool of the directory.

        The process that an upgrade starts has a file of its own, and removes those of the former one. Raises
        sqlite3.Error.
        """
        value = _recall(self._db, name)
        if value is not None:
            self._memory[name] = value
            return value
        for path in listed(self.path.parent, "spool-*.db"):
            read_only = f"{path.absolute().as_uri()}?mode=ro"
            with suppress(sqlite3.Error), closing(sqlite3.connect(read_only, uri=True, timeout=_PATIENCE_S)) as other:
                value = _recall(other, name)
            if value is not None:
                self.remember(name, value)
                break
        return value

    def remember(self, name: str, value: str) -> None:
        """Keep a value over restarts. Raises sqlite3.Error."""
        with transaction(self._db):
            self._db.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (name, value))
        self._memory[name] = value

    def make_room(self, patience_s: float = 0.0) -> None:
        """Checkpoint the write-ahead log into the file, which needs less space than both.

        Raises sqlite3.Error, also if another connection, such as an operator's, prevents a full checkpoint for
        `patience_s` seconds. Events wait for this thread meanwhile.
        """
        self._be_patient(patience_s)
        try:
            ((busy, frames, folded),) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            self._be_patient(_PATIENCE_S)
        # Trap: SQLite reports that as the first of the returned numbers, not as an error.
        if busy:
            raise sqlite3.OperationalError(f"another process reads the spool: {folded} of {frames} pages folded in")
        self.unfolded = False

    def _be_patient(self, seconds: float) -> None:
        self._db.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")

    def fold(self) -> bool:
        """Do what `shrink` or `squeeze` could not do while another process was reading; return whether it is done."""
        if self.unfolded:
            with suppress(sqlite3.OperationalError):
                self.make_room()
        return not self.unfolded

    def shrink(self) -> bool:
        """Return part of the space of deleted events to the disk, if it is much or the file is empty.

        An empty file has no byte of former events: erasures need that. Returns whether there is more to free, by
        another call. Raises sqlite3.Error.
        """
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        if not (free > _SHRINK_ABOVE_PAGES or self._shrinking or self._is_empty()):
            return False
        # Trap: this pragma frees a page with each step, and `execute` makes a single one. All of a large file at once
        # would block events for longer than their requests wait.
        self._db.executescript(f"PRAGMA incremental_vacuum({_SHRINK_AT_ONCE_PAGES})")
        self._shrinking = free > _SHRINK_AT_ONCE_PAGES
        if not self._shrinking:
            self.unfolded = True
            self.fold()
        return self._shrinking

    def _is_empty(self) -> bool:
        (found,) = self._db.execute(
            "SELECT EXISTS (SELECT 1 FROM event) OR EXISTS (SELECT 1 FROM quarantine)"
        ).fetchone()
        return not found

    def purge(self, is_wanted: Callable[[bytes], bool]) -> int:
        """Remove events for good, in quarantine too, and every byte of former ones; return how many.

        `is_wanted` is called with their bodies. For a file whose events nothing counts meanwhile. Raises sqlite3.Error.
        """
        removed = 0
        # Without it, deleted rows stay readable in pages that keep other rows.
        self._db.execute("PRAGMA secure_delete = ON")
        with transaction(self._db):
            for table in ("event", "quarantine"):
                found = self._db.execute(f"SELECT seq, body FROM {table}")  # noqa: S608 one of two names
                numbers = [(seq,) for seq, body in found if is_wanted(body)]
                self._db.executemany(f"DELETE FROM {table} WHERE seq = ?", numbers)  # noqa: S608 as above
                removed += len(numbers)
        self._db.execute("VACUUM")
        self.make_room(_PATIENCE_S)
        return removed

    def read_quarantine(self, after: StoredEvent | None, size: int) -> list[StoredEvent]:
        """Return quarantined events after `after`, as `read` does, no more than `size` bytes, but at least one.

        Raises sqlite3.Error.
        """
        rows: list[StoredEvent] = []
        for seq, received_at, body in self._db.execute(
            "SELECT seq, received_at, body FROM quarantine WHERE seq > ? ORDER BY seq", (self._number(after),)
        ):
            size -= len(body)
            if rows and size < 0:
                break
            rows.append(StoredEvent(seq, received_at, body, self.generation))
        return rows

    def erase(self, rows: list[StoredEvent], *, quarantined: bool = False) -> int:
        """Remove events for good, all or none, except those of a former file; return how many.

        The `quarantined` have their own numbers.
        What former versions of the pages hold is gone after `squeeze`. Raises sqlite3.Error.
        """
        table = "quarantine" if quarantined else "event"
        numbers = [(row.seq,) for row in rows if row.generation == self.generation]
        # Free pages are overwritten as well; too costly for ordinary deletes.
        self._db.execute("PRAGMA secure_delete = ON")
        try:
            with transaction(self._db):
                self._db.executemany(f"DELETE FROM {table} WHERE seq = ?", numbers)  # noqa: S608 one of two names
        finally:
            self._db.execute("PRAGMA secure_delete = FAST")
        return len(numbers)

    def squeeze(self) -> bool:
        """Return part of the free pages to the disk, whatever the file holds, and in the end the write-ahead log.

        Returns whether there is more; the log is left to `fold` while another process reads. Raises sqlite3.Error.
        """
        self._db.executescript(f"PRAGMA incremental_vacuum({_SHRINK_AT_ONCE_PAGES})")
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        if not free:
            self.unfolded = True
            self.fold()
        return bool(free)

    def start_over(self, through: StoredEvent | None) -> bool:
        """Replace the file by an empty one, unless it holds anything but its events up to `through`.

        The only way out when the disk is too full even for deleting. Returns whether it was done. Raises sqlite3.Error.
        """
        (others,) = self._db.execute(
            "SELECT (SELECT count(*) FROM event WHERE seq > ?) + (SELECT count(*) FROM quarantine)",
            (self._number(through),),
        ).fetchone()
        if others:
            return False
        self._disconnect()
        main, *others_of_it = _files(self.path)
        try:
            main.unlink(missing_ok=True)
        except OSError as error:
            raise sqlite3.OperationalError(f"{main} cannot be replaced: {error.strerror}") from error
        self.generation += 1
        for path in others_of_it:
            with suppress(OSError):  # SQLite deletes parts without a file when it creates the new one
                path.unlink(missing_ok=True)
        return True

    def replace_damaged(self) -> Path:
        """Rename the damaged file, and start an empty one. Returns the new name.

        Raises OSError.
        """
        self._disconnect()
        aside = self._set_aside()
        self.generation += 1
        return aside

    @property
    def _db(self) -> sqlite3.Connection:
        """The connection; after a replacement it is opened at the first use, and again as often as that fails."""
        if self._connection is None:
            if self._closed:
                raise sqlite3.ProgrammingError(f"{self.path} is closed")
            try:
                if self._lock is None:
                    self._take_lock()
                self._connection = self._open()
            except (SpoolError, OSError) as error:
                raise sqlite3.OperationalError(f"cannot be opened: {error}") from error
            self.unopened = None
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open_or_replace(self) -> sqlite3.Connection:
        try:
            try:
                return self._open()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
            self._set_aside()
            return self._open()
        except sqlite3.DatabaseError as error:
            raise SpoolUnavailableError(self.path, f"cannot be opened: {error}") from error
        except OSError as error:
            raise SpoolUnavailableError(self.path, f"cannot be opened: {error.strerror}") from error

    def _open(self) -> sqlite3.Connection:
        # SQLite gives its other files the mode of this one.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        self.path.chmod(0o600)
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=_PATIENCE_S)
        try:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            _write_ahead(db)
            db.execute("PRAGMA synchronous = FULL")
            # Deleted bodies do not stay in rewritten pages; whole free pages are freed by `shrink`.
            db.execute("PRAGMA secure_delete = FAST")
            _check(db)
            self._bring_up(db)
        except BaseException:
            db.close()
            raise
        self._identities = tuple(map(_identity, _files(self.path)))
        return db

    def _bring_up(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            db.executescript(
                f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {_APPLICATION_ID};"
                f" PRAGMA user_version = {_VERSION};"
            )
            db.executemany("INSERT INTO memory VALUES (?, ?)", self._memory.items())
            db.execute("COMMIT")
            sync_directory(self.path.parent)
        elif version != _VERSION:
            raise SpoolError(
                self.path, f"written by another version of the bridge (format {version}, this one is {_VERSION})"
            )

    def _set_aside(self) -> Path:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self.path.with_name(f"{self.path.name}.damaged-{stamp}")
        # Under these names SQLite finds the other parts: events may be in the write-ahead log alone. Trap: a start
        # deletes one that has no file beside it, so the file comes last, for a kill in between.
        for path, beside in reversed(list(zip(_files(self.path), _files(aside), strict=True))):
            if path.exists():
                path.rename(beside)
        self.set_aside.append(aside)
        return aside

    def _logs_alone(self) -> list[Path]:
        """Return the logs whose file was not set aside with them, because the process was killed in between."""
        logs = listed(self.path.parent, f"{self.path.name}.damaged-*-wal")
        return [log for log in logs if not log.with_name(log.name.removesuffix("-wal")).exists()]


def listed(directory: Path, pattern: str) -> list[Path]:
    """Return the matching files of a spool directory, in order; none while its disk fails, which ends no bridge."""
    try:
        return sorted(directory.glob(pattern))
    except OSError:
        return []


def _recall(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT value FROM memory WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def _totals(db: sqlite3.Connection) -> Totals:
    return Totals(*db.execute("SELECT count(*), coalesce(sum(length(body)), 0) FROM event").fetchone())


def _write_ahead(db: sqlite3.Connection) -> None:
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    # Trap: else SQLite goes on in another mode, in which FULL does not sync the directory at each commit.
    if mode != "wal":
        raise sqlite3.OperationalError("its file system does not allow a write-ahead log")


def _check(db: sqlite3.Connection) -> None:
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        error = sqlite3.DatabaseError(verdict)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def _copy(old: sqlite3.Connection, new: sqlite3.Connection) -> Totals:
    """Copy everything from another file into one. Returns what that holds then."""
    insert = "INSERT INTO event (received_at, crc, body) VALUES (?, ?, ?)"
    new.execute("BEGIN IMMEDIATE")
    try:
        new.executemany(insert, old.execute("SELECT received_at, crc, body FROM event ORDER BY seq"))
        for *event, why in old.execute("SELECT received_at, crc, body, why FROM quarantine ORDER BY seq"):
            # Its number has to be one that no event gets.
            number = new.execute(insert, event).lastrowid
            new.execute(
                "INSERT INTO quarantine SELECT seq, received_at, crc, body, ? FROM event WHERE seq = ?", (why, number)
            )
            new.execute("DELETE FROM event WHERE seq = ?", (number,))
        new.executemany("INSERT OR REPLACE INTO memory VALUES (?, ?)", old.execute("SELECT name, value FROM memory"))
        # Trap: after the commit it must not fail any more, or all would be copied once more.
        totals = _totals(new)
        new.execute("COMMIT")
    except BaseException:
        new.close()
        raise
    return totals


def _identity(path: Path) -> _Identity:
    try:
        found = os.stat(path)  # noqa: PTH116 called for every commit, and four times as fast
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _files(path: Path) -> tuple[Path, ...]:
    return (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm"))


def _lock(path: Path) -> int:
    # A file of its own: POSIX drops a process's locks on a file when it closes any descriptor of it, as SQLite does.
    try:
        return lock_file(path.with_suffix(".lock"))
    except LockHeldError as error:
        raise SpoolInUseError(path, error.holder) from None


def _make_directory(path: Path) -> None:
    """Create a missing directory. Trap: its entry in the parent is not on the disk until the parent is synced."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in missing:
        sync_directory(each.parent)
