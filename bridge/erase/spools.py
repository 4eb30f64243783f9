"""Spools on this machine: what their files have of erased rows, and removing it where no bridge runs."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from bridge.delivery.items import UnreadableError, unpack
from bridge.delivery.records import DeadLetter
from bridge.delivery.spool.file import SpoolFile
from bridge.erase.errors import EraseError
from bridge.erase.places import Spooled
from bridge.erase.sought import Needles, Sought
from bridge.errors import SpoolError, SpoolInUseError

_PIECE_BYTES = 1024 * 1024


def search(directory: Path, sought: Sought) -> Spooled:
    """Look through the files of a directory, of a bridge that may be running. Raises EraseError."""
    waiting = quarantined = residue = 0
    for path in _spools(directory):
        try:
            database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)
            try:
                waiting += _count(database, "event", sought)
                quarantined += _count(database, "quarantine", sought)
            finally:
                database.close()
        except sqlite3.Error as error:
            raise EraseError(f"{path} cannot be read: {error}") from None
    for path in sorted(directory.iterdir()):
        if path.is_file():
            residue += _places(path, sought.needles)
    return Spooled(str(directory), waiting, quarantined, residue)


def remove(directory: Path, sought: Sought) -> int:
    """Remove what waits of the rows, and what former events left behind; return how many events those were.

    Raises EraseError where a bridge runs, or the files cannot be used.
    """
    removed = 0
    for path in _spools(directory):
        try:
            file = SpoolFile(path)
        except SpoolInUseError as error:
            raise EraseError(
                f"{error}: stop the bridge first; what waits there is published before the deletes"
            ) from None
        except SpoolError as error:
            raise EraseError(str(error)) from None
        try:
            removed += file.purge(matcher(sought))
        except sqlite3.Error as error:
            raise EraseError(f"{path} cannot be changed: {error}") from None
        finally:
            file.close()
    return removed


def matcher(sought: Sought) -> Callable[[bytes], bool]:
    """Return what tells whether a body in a spool is of one of the rows; a delete is not, which has ids only."""

    def is_of(body: bytes) -> bool:
        try:
            item = unpack(body)
        except UnreadableError:
            return sought.needles.within(body)
        if isinstance(item, DeadLetter):
            return sought.is_of(item.fields) or sought.needles.within(item.fields["payload"] or b"")
        if item.action == "delete":
            return False
        return sought.is_of(item.row) or sought.wanted.has({**_COLUMNS, **item.row})

    return is_of


#: A row can lack what an erasure is asked for by.
_COLUMNS = dict.fromkeys(("contact_address", "service", "organization_id"))


def _spools(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise EraseError(f"{directory} is no directory: give the BRIDGE_SPOOL_DIR of a bridge on this machine")
    return sorted(directory.glob("spool-*.db"))


def _count(database: sqlite3.Connection, table: str, sought: Sought) -> int:
    is_of = matcher(sought)
    rows = database.execute(f"SELECT body FROM {table}")  # noqa: S608 one of two names
    return sum(is_of(body) for (body,) in rows)


def _places(path: Path, needles: Needles) -> int:
    return sum(needles.count(piece) for piece in _pieces(path, needles.longest)) if needles else 0


def _pieces(path: Path, longest: int) -> Iterator[bytes]:
    """Yield a file in pieces that overlap, so that nothing is cut."""
    with path.open("rb") as file:
        piece = b""
        while more := file.read(_PIECE_BYTES):
            piece = piece[-(longest - 1) :] + more if longest > 1 else more
            yield piece
