"""Rows that exist in the states and not in the platform: found by asking for their ids."""

from collections.abc import Iterator, Mapping, Sequence

from bridge.reconcile.index import Index, Known
from bridge.reconcile.source import Source
from bridge.sender.errors import PlatformError

_WINDOW = 1_000
_CHUNK_IDS = 100
#: Bytes of ids in one request: many servers refuse addresses of more than 8 KiB.
_CHUNK_CHARACTERS = 4_000


def candidates(index: Index, entity: str, after: str, before: int, most: int) -> Iterator[list[Known]]:
    """Yield rows of the states whose stamp is before `before`, by id, after the id `after`, `most` in all."""
    left = most
    while left > 0 and (found := index.behind(entity, after, before, min(_WINDOW, left))):
        yield found
        after = found[-1].id
        left -= len(found)


def by_organization(rows: Sequence[Known]) -> Mapping[str | None, list[Known]]:
    """Return the rows of each organization."""
    found: dict[str | None, list[Known]] = {}
    for row in rows:
        found.setdefault(row.organization, []).append(row)
    return found


def absent(source: Source, entity: str, rows: Sequence[Known], witness: str) -> list[Known]:
    """Return those of the rows that the platform does not have.

    Each question includes `witness`, the name of an existing row. Raises PlatformError if it is not in the answer.
    """
    gone: list[Known] = []
    for some in _chunks(rows):
        present = source.present(entity, [*{witness, *(row.name for row in some)}])
        if witness not in present:
            raise PlatformError(f"{entity}: an answer without a row that was there a moment ago; nothing is deleted")
        gone += [row for row in some if row.name not in present]
    return gone


def too_many(gone: int, asked: int, share: float, minimum: int) -> bool:
    """Return whether so many missing rows may not be deleted without confirmation."""
    return gone > max(minimum, share * asked)


def _chunks(rows: Sequence[Known]) -> Iterator[list[Known]]:
    some: list[Known] = []
    characters = 0
    for row in rows:
        if some and (len(some) >= _CHUNK_IDS or characters + len(row.name) > _CHUNK_CHARACTERS):
            yield some
            some, characters = [], 0
        some.append(row)
        characters += len(row.name)
    if some:
        yield some
