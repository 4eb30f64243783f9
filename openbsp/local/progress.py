"""What the user sees of a download: a bar on a terminal, two lines elsewhere. Always on standard error."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from openbsp.local.lockfile import Bundle


class DownloadProgress:
    """A context around the download of one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(f"{bundle.name} {bundle.version}", total=bundle.size)

    def __enter__(self) -> Self:
        if self._bar.disable:
            files, megabytes = len(self._bundle.artifacts), self._bundle.size / 1e6
            self._print(f"downloading {self._bundle.name} {self._bundle.version} ({files} files, {megabytes:.0f} MB)")
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._bar.disable and error is None:
            self._print(f"{self._bundle.name} {self._bundle.version} is in the cache, sha256 sums verified")

    def advance(self, size: int) -> None:
        """Add `size` more bytes; may be called from any thread."""
        self._bar.advance(self._task, size)

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)
