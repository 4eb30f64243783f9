"""Spools on this machine: searching their files for erased rows, and removing them."""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from enum import Enum, auto
from pathlib import Path
from typing import Any

from avro.catalogue import DELETE
from bridge.cluster import STATE_TOPICS
from bridge.delivery.items import Event, UnreadableError, unpack
from bridge.delivery.spool.file import SpoolFile
from bridge.erase.errors import EraseError
from bridge.erase.find import Row, Wanted
from bridge.erase.matching import COLUMNS, leaves_open, matcher
from bridge.erase.places import Spooled
from bridge.erase.requests import ask
from bridge.erase.sought import Needles, Sought
from bridge.errors import SpoolError, SpoolInUseError

_PIECE_BYTES = 1024 * 1024
_TABLES = ("event", "quarantine")
#: The ids of a row besides its own.
_IDS = ("organization_id", "conversation_id", "external_id")


def search(directory: Path, sought: Sought) -> Spooled:
    """Search the files of a directory, whose bridge may be running. Raises EraseError."""
    while True:
        before = _spools(directory)
        found = _search(directory, sought)
        # Trap: a bridge moves events of abandoned spools into its own, which may have been searched before.
        if set(before) <= set(_spools(directory)):
            return found


def _search(directory: Path, sought: Sought) -> Spooled:
    is_of, residue = matcher(sought), 0
    waiting, quarantined = (sum(map(is_of, _bodies(directory, [table]))) for table in _TABLES)
    for path in sorted(directory.iterdir()):
        with contextlib.suppress(FileNotFoundError):  # of a spool that is empty now, or was moved
            if path.is_file():
                residue += _places(path, sought.needles)
    return Spooled(str(directory), waiting, quarantined, residue)


def count_undecided(directories: Collection[Path], sought: Sought) -> int:
    """Return how many waiting events name no person, nor does any other spooled event. Raises EraseError."""
    undecided: Counter[tuple[str, str]] = Counter()
    undecided.update(_key(item) for item in _events(directories) if leaves_open(item, sought))
    for item in _events(directories) if undecided.total() else ():
        if not leaves_open(item, sought):
            undecided.pop(_key(item), None)
    return undecided.total()


def find(directories: Collection[Path], wanted: Wanted) -> list[Row]:
    """Return the messages and conversations to erase as far as events that wait in spools show it.

    Other spooled events of them may have nothing but their ids. An id in events of two organizations is left out:
    anyone can send another one's. Raises EraseError.
    """
    found: dict[tuple[str, str], Row] = {}
    for item in _events(directories):
        entity, row = item.entity.name, item.row
        of_it = wanted.has({**COLUMNS, **row}) or _text(row, "conversation_id") in wanted.conversations
        if of_it and entity in STATE_TOPICS:
            organization, conversation, external = (_text(row, name) for name in _IDS)
            found.setdefault(_key(item), Row(entity, item.id, organization, conversation, external, found=False))
    owners: dict[tuple[str, str], set[str | None]] = {key: set() for key in found}
    for item in _events(directories) if found else ():
        for key in (_key(item), ("conversations", _text(item.row, "conversation_id") or "")):
            if key in owners:
                owners[key].add(_text(item.row, "organization_id"))
    return [row for key, row in found.items() if len(owners[key] - {None}) <= 1]


def _events(directories: Iterable[Path]) -> Iterator[Event]:
    """Yield the events that wait, except deletes."""
    for body in (body for directory in directories for body in _bodies(directory)):
        try:
            item = unpack(body)
        except UnreadableError:
            continue
        if isinstance(item, Event) and item.action != DELETE:
            yield item


def _key(event: Event) -> tuple[str, str]:
    return event.entity.name, event.id


def _text(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    return value if type(value) is str else None


class _By(Enum):
    """How a spool was searched."""

    BRIDGE = auto()
    COMMAND = auto()
    #: It is gone: a bridge has adopted its events.
    NOBODY = auto()


def remove(directory: Path, rows: list[Row], wanted: Wanted, *, patience_s: float) -> int:
    """Remove the rows' waiting events, and remains of former ones; return how many events those were.

    Where a bridge runs, it does so. Raises EraseError where it does not answer, or the files cannot be used.
    """
    removed, passes, again = 0, 0, True
    while again:
        done = [_remove(path, rows, wanted, patience_s) for path in _spools(directory)]
        removed += sum(number for _, number in done)
        passes += 1
        by = {by for by, _ in done}
        # Trap: a bridge moves events of abandoned spools into its own, which may have been searched before.
        again = _By.NOBODY in by or (passes == 1 and {_By.BRIDGE, _By.COMMAND} <= by)
    return removed


def _remove(path: Path, rows: list[Row], wanted: Wanted, patience_s: float) -> tuple[_By, int]:
    while path.exists():
        try:
            file = SpoolFile(path)
        except SpoolInUseError:
            answered = _ask(path, rows, wanted, patience_s)
            if answered is not None:
                return _By.BRIDGE, answered
            continue
        except SpoolError as error:
            raise EraseError(str(error)) from None
        try:
            return _By.COMMAND, file.purge(matcher(Sought.of(rows, wanted)))
        except sqlite3.Error as error:
            raise EraseError(f"{path} cannot be changed: {error}") from None
        finally:
            file.close()
    return _By.NOBODY, 0


def _ask(path: Path, rows: list[Row], wanted: Wanted, patience_s: float) -> int | None:
    try:
        return ask(path, rows, wanted, patience_s=patience_s)
    except TimeoutError:
        raise EraseError(f"the bridge that has {path} did not answer within {patience_s:.0f} s; see its log") from None
    except FileNotFoundError:
        return None  # it was adopted just now
    except (OSError, ValueError) as error:
        raise EraseError(f"{path}: {error}") from None


def _spools(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise EraseError(f"{directory} is not a directory: give the BRIDGE_SPOOL_DIR of a bridge on this machine")
    return sorted(directory.glob("spool-*.db"))


def _bodies(directory: Path, tables: Iterable[str] = _TABLES) -> Iterator[bytes]:
    """Yield the bodies in a directory's files, whose bridge may be running. Raises EraseError."""
    for path in _spools(directory):
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)) as database:
                for table in tables:
                    yield from (body for (body,) in database.execute(f"SELECT body FROM {table}"))  # noqa: S608 one of two names
        except sqlite3.Error as error:
            if path.exists():  # else it was moved into another one
                raise EraseError(f"{path} cannot be read: {error}") from None


def _places(path: Path, needles: Needles) -> int:
    return sum(needles.count(piece) for piece in _pieces(path, needles.longest)) if needles else 0


def _pieces(path: Path, longest: int) -> Iterator[bytes]:
    """Yield a file in overlapping pieces, so that nothing is cut."""
    with path.open("rb") as file:
        piece = b""
        while more := file.read(_PIECE_BYTES):
            piece = piece[-(longest - 1) :] + more if longest > 1 else more
            yield piece
