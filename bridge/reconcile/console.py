"""The output of a run: differences as lines, progress as bars on a terminal."""

import sys
from types import TracebackType
from typing import Self

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from openbsp.console import make_console
from openbsp.terminal import printable


class Console:
    """Shows a run's progress; a context manager. As bridge.reconcile.run.Watcher."""

    def __init__(self, *, differences: bool) -> None:
        """Print each difference if `differences`."""
        self._differences = differences
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            console=make_console(stderr=True),
            disable=not sys.stderr.isatty(),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        """Show bars."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bars."""
        self._progress.stop()

    def reading(self, done: int, total: int) -> None:
        """Show how much of the state topics was read."""
        self._show("states", done, total, f"{done:,} records")

    def comparing(self, entity: str, since: int, at: int, until: int, rows: int) -> None:
        """Show up to when an entity's rows were compared."""
        self._show(entity, at - since, until - since, f"{rows:,} rows")

    def asking(self, entity: str, ids: int) -> None:
        """Show for how many ids was asked."""
        self._show(f"gone from {entity}", ids, None, f"{ids:,} ids")

    def found(self, line: str) -> None:
        """Print a difference."""
        if self._differences:
            typer.echo(printable(line))

    def _show(self, name: str, done: int, total: int | None, count: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, count="")
        self._progress.update(self._tasks[name], completed=done, total=total, count=count)
