"""Contributions made by hand: columns of one row with its version, said in instants."""

from typing import Any

from openbsp.merge.registers import undated
from streams.state import contribution as contributions
from streams.state.contribution import Contribution


def part_of(columns: dict[str, Any], at: int | None, status: dict[str, int] | None = None) -> Contribution:
    """Return what a message adds whose whole row was written at an instant (None: it does not say when)."""
    stamp = undated(at)
    return contributions.of(
        contributions.placed({name: (0, stamp, value) for name, value in columns.items()}),
        [],
        {key: (0, stamp, moment) for key, moment in (status or {}).items()},
        {},
        newest=(0, stamp),
        newest_partial=None,
        announced=sorted(status or {}),
        organizations=[],
        received_at=None,
        deletes=[],
        rivals={},
    )
