"""What a part leaves behind for the summary: its goals, and the figures for plots and for the model of cost."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from figures.goals import Goal


@dataclass(frozen=True)
class Results:
    """`sizes` says in a line what was measured; `figures` are numbers by name, or rows of them."""

    machine: str
    sizes: str
    goals: list[Goal]
    figures: dict[str, Any] = field(default_factory=dict)
    #: What could not be measured here, and why.
    left_out: list[str] = field(default_factory=list)
    date: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())

    def write(self, path: Path | None) -> None:
        """Write a JSON file, if one is asked for."""
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(msgspec.json.format(msgspec.json.encode(self)))

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read what `write` wrote. Raises OSError, msgspec.DecodeError."""
        return msgspec.json.decode(path.read_bytes(), type=cls)
