"""Spools on this machine: what their files have of erased rows, and removing it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from bridge.delivery.spool.file import SpoolFile
from bridge.erase.errors import EraseError
from bridge.erase.find import Row, Wanted
from bridge.erase.matching import matcher
from bridge.erase.places import Spooled
from bridge.erase.requests import ask
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


def remove(directory: Path, rows: list[Row], wanted: Wanted, *, patience_s: float) -> int:
    """Remove what waits of the rows, and what former events left behind; return how many events those were.

    Where a bridge runs, it does so. Raises EraseError where it does not answer, or the files cannot be used.
    """
    return sum(_remove(path, rows, wanted, patience_s) for path in _spools(directory))


def _remove(path: Path, rows: list[Row], wanted: Wanted, patience_s: float) -> int:
    try:
        file = SpoolFile(path)
    except SpoolInUseError:
        return _ask(path, rows, wanted, patience_s)
    except SpoolError as error:
        raise EraseError(str(error)) from None
    try:
        return file.purge(matcher(Sought.of(rows, wanted)))
    except sqlite3.Error as error:
        raise EraseError(f"{path} cannot be changed: {error}") from None
    finally:
        file.close()


def _ask(path: Path, rows: list[Row], wanted: Wanted, patience_s: float) -> int:
    try:
        return ask(path, rows, wanted, patience_s=patience_s, gone=lambda: not path.exists())
    except TimeoutError:
        raise EraseError(f"the bridge that has {path} did not answer within {patience_s:.0f} s; see its log") from None
    except (OSError, ValueError) as error:
        raise EraseError(f"{path}: {error}") from None


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
