"""The content of the state topics on disk: the facts of each row, so that memory does not grow with their number.

It is a cache: it can be rebuilt from the topics, except the repairs posted and the progress of runs. Without those, a
run reads all rows and posts again what the states cannot take.
"""

import contextlib
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Self

import msgspec

from bridge.reconcile import names
from bridge.reconcile.comparison import Facts
from bridge.reconcile.errors import ReconcileError
from openbsp import sqlite
from openbsp.locks import LockHeldError, lock_file

_FORMAT = 1
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE positions (entity TEXT, partition INTEGER, next INTEGER, PRIMARY KEY (entity, partition)) WITHOUT ROWID;
CREATE TABLE names (number INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE rows (
    entity TEXT, id TEXT, organization INTEGER, conversation INTEGER, keys INTEGER, stamp INTEGER, columns BLOB,
    PRIMARY KEY (entity, id)
) WITHOUT ROWID;
CREATE TABLE witnesses (
    entity TEXT, organization INTEGER, slot INTEGER, id TEXT, PRIMARY KEY (entity, organization, slot)
) WITHOUT ROWID;
CREATE TABLE posted (
    entity TEXT, id TEXT, organization INTEGER, run TEXT, at INTEGER, facts BLOB, heard INTEGER,
    PRIMARY KEY (entity, id)
) WITHOUT ROWID;
CREATE TABLE progress (
    entity TEXT, organization TEXT, since INTEGER, until INTEGER, PRIMARY KEY (entity, organization)
) WITHOUT ROWID;
CREATE TABLE circles (entity TEXT PRIMARY KEY, after TEXT) WITHOUT ROWID;
"""
#: Added later; without it the state topics are read again, and the progress is kept.
_ORPHANS = """
CREATE TABLE orphans (entity TEXT, id TEXT, organization INTEGER, PRIMARY KEY (entity, id)) WITHOUT ROWID;
DELETE FROM positions;
"""
#: Added later; without it, the progress counts for all organizations in the index.
_COVERAGE = """
CREATE TABLE coverage (entity TEXT, organization TEXT, gap INTEGER, PRIMARY KEY (entity, organization)) WITHOUT ROWID;
INSERT INTO coverage SELECT DISTINCT entity, name, NULL FROM witnesses JOIN names ON number = organization;
"""
#: Added later: remains of deleted rows, names of rows without a column `id`, and rows that the bridge refused lately.
_CUTS = "CREATE TABLE cuts (entity TEXT, id TEXT, at INTEGER, PRIMARY KEY (entity, id)) WITHOUT ROWID;"
_ASKED = "CREATE TABLE asked (entity TEXT, id TEXT, name TEXT, PRIMARY KEY (entity, id)) WITHOUT ROWID;"
_TURNED_AWAY = "CREATE TABLE turned_away (entity TEXT, id TEXT, at INTEGER, PRIMARY KEY (entity, id)) WITHOUT ROWID;"
_LATER = {"orphans": _ORPHANS, "coverage": _COVERAGE, "cuts": _CUTS, "asked": _ASKED, "turned_away": _TURNED_AWAY}
#: Rows of one organization that are remembered as known, to ask for them.
_WITNESSES = 4
_SQL_VARIABLES = 500
_MOST_NAMES = 100_000
_POSTED = "at, facts, heard, organization"

_Blob = tuple[int, int, int, dict[int, bytes]]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Blob).decode


class State(NamedTuple):
    """A record of a state topic: of a tombstone, and of a conversation whose row is unknown, `facts` is None.

    `orphan`: other rows refer to it, and it never arrived. `cut`: it was deleted, and rows of it whose stamp is not
    later than that stay out. `address`: what the row of a conversation's contact address is asked for by.
    """

    id: str
    facts: Facts | None = None
    organization: str | None = None
    conversation: str | None = None
    orphan: bool = False
    cut: int | None = None
    address: str | None = None


class Known(NamedTuple):
    """A row in the states. `name` is what it is asked for by; its id if nothing else is known."""

    id: str
    organization: str | None
    conversation: str | None
    stamp: int
    name: str


class Posted(NamedTuple):
    """What was posted of a row: its facts (None: its delete), when, and whether a state was written afterwards."""

    at: int
    facts: Facts | None
    heard: bool
    organization: str | None


class Progress(NamedTuple):
    """Every row changed from `since` to `until` has been compared; microseconds since the epoch."""

    since: int
    until: int


class Index:
    """The index of a directory; one process at a time has it open. A context manager. Raises ReconcileError."""

    def __init__(self, directory: Path) -> None:
        """Open or create it."""
        directory.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = lock_file(directory / "lock")
        except LockHeldError as error:
            raise ReconcileError(f"{directory}: another reconcile works here ({error}); see RECONCILE_DIR") from None
        self._path = directory / "index.db"
        self._db = self._open()
        self._numbers: dict[str, int] = {}
        self._texts: dict[int, str] = {}

    def __enter__(self) -> Self:
        """Return the index."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self._db.close()
        os.close(self._lock)

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connected() or self._connected() or self._fail("it cannot be made")
        except sqlite3.Error as error:
            # Of the disk or of permissions: no reason to discard the progress.
            self._fail(str(error))

    def _fail(self, why: str) -> NoReturn:
        os.close(self._lock)
        raise ReconcileError(f"{self._path}: {why}; see RECONCILE_DIR")

    def _connected(self) -> sqlite3.Connection | None:
        """Return a connection; None if the file had to be removed: it was damaged, or another version's."""
        db = sqlite3.connect(self._path, isolation_level=None)
        try:
            os.chmod(self._path, 0o600)  # noqa: PTH101 beside sqlite's own calls
            if _prepare(db):
                return db
        except sqlite3.OperationalError:
            db.close()
            raise
        except sqlite3.DatabaseError:
            pass
        db.close()
        # It is a cache.
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        return None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make several changes atomic."""
        try:
            with sqlite.transaction(self._db):
                yield
        except BaseException:
            self._numbers.clear()
            self._texts.clear()
            raise

    # -- the states

    def meta(self, name: str) -> str | None:
        """Return a stored value."""
        found = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def note(self, name: str, value: str) -> None:
        """Store a value."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def forget(self, entity: str) -> None:
        """Drop the states of an entity, so that its topic is read again from the beginning."""
        with self.transaction():
            for table in ("positions", "rows", "witnesses", "orphans", "cuts"):
                self._db.execute(f"DELETE FROM {table} WHERE entity = ?", (entity,))  # noqa: S608 names from above

    def positions(self, entity: str) -> dict[int, int]:
        """Return the next offset to read of each partition of the entity's state topic."""
        return dict(self._db.execute("SELECT partition, next FROM positions WHERE entity = ?", (entity,)).fetchall())

    def take(self, entity: str, states: Sequence[State], positions: dict[int, int]) -> None:
        """Store records of the entity's state topic, in order, and the offsets read."""
        # Of several records of one row the last counts.
        latest = {state.id: state for state in states}
        present = [state for state in latest.values() if state.facts is not None]
        with self.transaction():
            self._db.executemany(
                "DELETE FROM rows WHERE entity = ? AND id = ?",
                [(entity, state.id) for state in latest.values() if state.facts is None],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        entity,
                        state.id,
                        self._number(state.organization),
                        self._number(state.conversation),
                        state.facts.keys,
                        state.facts.stamp,
                        self._pack(state.facts),
                    )
                    for state in present
                    if state.facts is not None
                ],
            )
            self._take_witnesses(entity, present)
            self._take_orphans(entity, latest.values())
            self._take_cuts(entity, latest.values())
            self._add_names(names.ADDRESSES, {state.address for state in latest.values() if state.address is not None})
            if self._db.execute("SELECT 1 FROM posted LIMIT 1").fetchone():
                self._db.executemany(
                    "UPDATE posted SET heard = 1 WHERE entity = ? AND id = ?", [(entity, id_) for id_ in latest]
                )
            self._db.executemany(
                "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)",
                [(entity, partition, after) for partition, after in positions.items()],
            )

    def _take_witnesses(self, entity: str, states: Iterable[State]) -> None:
        by_organization: dict[str, list[str]] = {}
        for state in states:
            if state.organization is not None:
                by_organization.setdefault(state.organization, []).append(state.id)
        self._db.executemany(
            "INSERT OR REPLACE INTO witnesses VALUES (?, ?, ?, ?)",
            [
                (entity, self._number(organization), slot, id_)
                for organization, ids in by_organization.items()
                for slot, id_ in enumerate(ids[-_WITNESSES:])
            ],
        )

    def _take_orphans(self, entity: str, states: Collection[State]) -> None:
        self._db.executemany(
            "DELETE FROM orphans WHERE entity = ? AND id = ?",
            [(entity, state.id) for state in states if not state.orphan],
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO orphans VALUES (?, ?, ?)",
            [(entity, state.id, self._number(state.organization)) for state in states if state.orphan],
        )

    def _take_cuts(self, entity: str, states: Collection[State]) -> None:
        if self._db.execute("SELECT 1 FROM cuts WHERE entity = ? LIMIT 1", (entity,)).fetchone():
            self._db.executemany(
                "DELETE FROM cuts WHERE entity = ? AND id = ?", [(entity, state.id) for state in states]
            )
        self._db.executemany(
            "INSERT OR REPLACE INTO cuts VALUES (?, ?, ?)",
            [(entity, state.id, state.cut) for state in states if state.cut is not None],
        )

    def cuts(self, entity: str, ids: Sequence[str]) -> dict[str, int]:
        """Return the stamps up to which rows stay out, of deleted ids."""
        return dict(self._rows("SELECT id, at FROM cuts", entity, ids))

    def _rows(self, select: str, entity: str, ids: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for at in range(0, len(ids), _SQL_VARIABLES):
            some = ids[at : at + _SQL_VARIABLES]
            marks = ",".join("?" * len(some))
            yield from self._db.execute(f"{select} WHERE entity = ? AND id IN ({marks})", (entity, *some))

    def orphans(self, entity: str, after: str, most: int) -> list[tuple[str, str | None]]:
        """Return ids, after an id, of rows that others refer to and that never arrived, with their organizations."""
        found = self._db.execute(
            "SELECT id, organization FROM orphans WHERE entity = ? AND id > ? ORDER BY id LIMIT ?",
            (entity, after, most),
        ).fetchall()
        return [(id_, self._text(organization)) for id_, organization in found]

    def count_orphans(self, entity: str) -> dict[str | None, int]:
        """Return their number for each organization."""
        statement = "SELECT organization, count(*) FROM orphans WHERE entity = ? GROUP BY organization"
        return {self._text(number): count for number, count in self._db.execute(statement, (entity,)).fetchall()}

    def facts(self, entity: str, ids: Sequence[str]) -> dict[str, Facts]:
        """Return the facts of the rows that the states have."""
        return {id_: self._unpack(blob) for id_, blob in self._rows("SELECT id, columns FROM rows", entity, ids)}

    def count(self, entity: str) -> int:
        """Return how many rows the states have."""
        return int(self._db.execute("SELECT count(*) FROM rows WHERE entity = ?", (entity,)).fetchone()[0])

    def behind(self, entity: str, after: str, before: int, most: int) -> list[Known]:
        """Return rows whose stamp is before `before`, by id, after the id `after`."""
        found = self._db.execute(
            "SELECT r.id, r.organization, r.conversation, r.stamp, coalesce(a.name, r.id) FROM rows r"
            " LEFT JOIN asked a ON a.entity = r.entity AND a.id = r.id"
            " WHERE r.entity = ? AND r.id > ? AND r.stamp >= 0 AND r.stamp < ? ORDER BY r.id LIMIT ?",
            (entity, after, before, most),
        ).fetchall()
        return [
            Known(id_, self._text(org), self._text(conversation), stamp, name)
            for id_, org, conversation, stamp, name in found
        ]

    def organizations(self, entity: str) -> list[str]:
        """Return the organizations with rows in the states."""
        numbers = self._db.execute("SELECT DISTINCT organization FROM witnesses WHERE entity = ?", (entity,)).fetchall()
        known = {text: number for (number,) in numbers if (text := self._text(number))}
        return sorted(name for name, number in known.items() if self._has_rows(entity, name, number))

    def _has_rows(self, entity: str, organization: str, number: int) -> bool:
        if self.witnesses(entity, organization):
            return True
        # Reads all rows, but of an organization that is gone only once.
        found = self._db.execute("SELECT 1 FROM rows WHERE entity = ? AND organization = ? LIMIT 1", (entity, number))
        if found.fetchone() is None:
            self._db.execute("DELETE FROM witnesses WHERE entity = ? AND organization = ?", (entity, number))
            return False
        return True

    def witnesses(self, entity: str, organization: str) -> list[str]:
        """Return names of rows of an organization that the states have; the id of one without a known name."""
        return [
            name
            for (name,) in self._db.execute(
                "SELECT coalesce(a.name, w.id) FROM witnesses w JOIN rows r ON r.entity = w.entity AND r.id = w.id"
                " LEFT JOIN asked a ON a.entity = w.entity AND a.id = w.id"
                " WHERE w.entity = ? AND w.organization = ? AND r.organization = w.organization ORDER BY w.slot DESC",
                (entity, self._number(organization)),
            )
        ]

    # -- what rows are asked for by

    def note_names(self, entity: str, found: Iterable[str]) -> None:
        """Remember names of rows."""
        with self.transaction():
            self._add_names(entity, found)

    def _add_names(self, entity: str, found: Iterable[str]) -> None:
        self._db.executemany(
            "INSERT OR IGNORE INTO asked VALUES (?, ?, ?)",
            [(entity, names.id_in(entity, name), name) for name in found],
        )

    def prune(self, turned_away_before: int) -> None:
        """Drop names of rows that are gone, and refusals of the bridge before a moment."""
        with self.transaction():
            self._db.execute(
                "DELETE FROM asked WHERE (entity, id) NOT IN (SELECT entity, id FROM rows)"
                " AND (entity, id) NOT IN (SELECT entity, id FROM posted)"
            )
            self._db.execute("DELETE FROM turned_away WHERE at < ?", (turned_away_before,))

    def turn_away(self, entity: str, id_: str, at: int) -> None:
        """Record that the bridge refused a row, because its contact is suppressed."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO turned_away VALUES (?, ?, ?)", (entity, id_, at))

    def turned_away(self, entity: str, ids: Sequence[str]) -> set[str]:
        """Return the rows that the bridge refused."""
        return {id_ for (id_,) in self._rows("SELECT id FROM turned_away", entity, ids)}

    # -- what was posted

    def post(self, entity: str, run: str, posts: Iterable[tuple[str, Posted]]) -> None:
        """Store a run's repairs."""
        with self.transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO posted VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        entity,
                        id_,
                        self._number(posted.organization),
                        run,
                        posted.at,
                        None if posted.facts is None else self._pack(posted.facts),
                        posted.heard,
                    )
                    for id_, posted in posts
                ],
            )

    def posted(self, entity: str, ids: Sequence[str]) -> dict[str, Posted]:
        """Return the latest repairs of those rows."""
        rows = self._rows(f"SELECT id, {_POSTED} FROM posted", entity, ids)  # noqa: S608 columns only
        return {id_: self._posted(*what) for id_, *what in rows}

    def settled(self, entity: str, ids: Iterable[str]) -> None:
        """Drop the repairs of rows whose state is right now."""
        with self.transaction():
            self._db.executemany("DELETE FROM posted WHERE entity = ? AND id = ?", [(entity, id_) for id_ in ids])

    def of_run(self, run: str, after: tuple[str, str], most: int) -> list[tuple[str, str, Posted]]:
        """Return a run's repairs, as `(entity, id, what)`, after an entity and id."""
        found = self._db.execute(
            f"SELECT entity, id, {_POSTED} FROM posted WHERE run = ? AND (entity, id) > (?, ?)"  # noqa: S608 as above
            " ORDER BY entity, id LIMIT ?",
            (run, *after, most),
        ).fetchall()
        return [(entity, id_, self._posted(*what)) for entity, id_, *what in found]

    def _posted(self, at: int, facts: bytes | None, heard: int, organization: int | None) -> Posted:
        return Posted(at, None if facts is None else self._unpack(facts), bool(heard), self._text(organization))

    # -- how far runs came

    def progress(self, entity: str, organization: str) -> Progress | None:
        """Return what has been compared; `organization` is empty for a run over all of them."""
        found = self._db.execute(
            "SELECT since, until FROM progress WHERE entity = ? AND organization = ?", (entity, organization)
        ).fetchone()
        return None if found is None else Progress(*found)

    def advance(self, entity: str, organization: str, progress: Progress) -> None:
        """Store what has been compared."""
        self._db.execute("INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?)", (entity, organization, *progress))

    def coverage(self, entity: str) -> dict[str, int | None]:
        """Return the organizations that runs over all have read, and from when on not all of their rows (None: all)."""
        statement = "SELECT organization, gap FROM coverage WHERE entity = ?"
        return dict(self._db.execute(statement, (entity,)).fetchall())

    def cover(self, entity: str, organization: str, gap: int | None) -> None:
        """Store from when on runs over all did not read all rows of an organization; None if they did."""
        self._db.execute("INSERT OR REPLACE INTO coverage VALUES (?, ?, ?)", (entity, organization, gap))

    def restart(self, entity: str = "") -> None:
        """Drop progress and repairs, of all entities or of one; not the states."""
        # Of an entity, the circles of some organizations stay: they only say where a search goes on.
        with self.transaction():
            for table in ("progress", "coverage", "circles", "posted"):
                self._db.execute(f"DELETE FROM {table} WHERE ? IN ('', entity)", (entity,))  # noqa: S608 as above

    def circle(self, name: str) -> str:
        """Return the id after which the next search for deletes of this name starts."""
        found = self._db.execute("SELECT after FROM circles WHERE entity = ?", (name,)).fetchone()
        return "" if found is None else str(found[0])

    def turn(self, name: str, after: str) -> None:
        """Store where the next search for deletes starts."""
        self._db.execute("INSERT OR REPLACE INTO circles VALUES (?, ?)", (name, after))

    # -- names as numbers

    def _number(self, name: str | None) -> int | None:
        if name is None:
            return None
        number = self._numbers.get(name)
        if number is None:
            found = self._db.execute("SELECT number FROM names WHERE name = ?", (name,)).fetchone()
            if found is None:
                number = int(self._db.execute("INSERT INTO names (name) VALUES (?)", (name,)).lastrowid or 0)
            else:
                number = int(found[0])
            if len(self._numbers) >= _MOST_NAMES:
                self._numbers.clear()
            self._numbers[name] = number
        return number

    def _text(self, number: int | None) -> str | None:
        if number is None:
            return None
        text = self._texts.get(number)
        if text is None:
            text = str(self._db.execute("SELECT name FROM names WHERE number = ?", (number,)).fetchone()[0])
            if len(self._texts) >= _MOST_NAMES:
                self._texts.clear()
            self._texts[number] = text
        return text

    def _pack(self, facts: Facts) -> bytes:
        columns = {self._number(name): digest for name, digest in facts.columns.items()}
        return _encode((facts.keys, facts.named, facts.stamp, columns))

    def _unpack(self, blob: bytes) -> Facts:
        keys, named, stamp, columns = _decode(blob)
        return Facts(keys, named, stamp, {str(self._text(number)): digest for number, digest in columns.items()})


def _prepare(db: sqlite3.Connection) -> bool:
    """Create missing tables; return whether the database is of this version."""
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    # Digests of erased rows must not stay in free pages.
    db.execute("PRAGMA secure_delete=ON")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={_FORMAT};COMMIT")
    elif version != _FORMAT:
        return False
    for table, script in _LATER.items():
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
            db.executescript(f"BEGIN;{script}COMMIT")
    return True
