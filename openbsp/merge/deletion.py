"""Deletes: which of them apply to a row, and how they and the organizations that a row has named are merged."""

from collections.abc import Sequence

#: At most so many organizations, and external ids, are remembered of one row; more than two were never seen.
NAMES_LIMIT = 8


def is_deleted(deletes: Sequence[str | None], organizations: Sequence[str]) -> bool:
    """Return whether one of the deletes applies to a row: an organization cannot delete another one's.

    `deletes` are the organizations that the deletes name (None: none), `organizations` those that the row ever named.
    """
    return bool(deletes) and (not organizations or is_certain(deletes, organizations))


def is_certain(deletes: Sequence[str | None], organizations: Sequence[str]) -> bool:
    """Return whether a row is deleted whatever else arrives."""
    return bool(deletes) and (None in deletes or any(name in organizations for name in deletes))


def join_names(a: list[str], b: list[str], limit: int | None = None) -> list[str]:
    """Return the sorted union, cut to its first members."""
    if not b or a == b:
        return a
    return sorted({*a, *b})[:limit]


def join_deletes(a: list[str | None], b: list[str | None]) -> list[str | None]:
    """Return the sorted union, null first."""
    if not b or a == b:
        return a
    return sorted({*a, *b}, key=lambda name: (name is not None, name or ""))
