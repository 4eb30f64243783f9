"""`bridge top`: polls bridges and workers, and shows their activity."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import httpx
from rich.console import Console, RenderableType
from rich.live import Live

from bridge.top.readings import Change, Reading, ask
from bridge.top.screen import screen

_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Target:
    """A process: its base address, and a token for it."""

    url: str
    token: str | None


class Top:
    """The polled processes. A context manager."""

    def __init__(
        self,
        bridges: Sequence[Target],
        workers: Sequence[Target],
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Ask nothing yet."""
        self._bridges = bridges
        self._workers = workers
        self._stack = ExitStack()
        targets = [*bridges, *workers]
        self._pool = self._stack.enter_context(ThreadPoolExecutor(max(1, len(targets))))
        self._clients = [
            self._stack.enter_context(
                httpx.Client(base_url=target.url, timeout=_TIMEOUT_S, trust_env=False, transport=transport)
            )
            for target in targets
        ]
        self._readings: list[Reading] = []

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._stack.close()

    @property
    def well(self) -> bool:
        """Whether all processes gave numbers and were ready at the last poll."""
        return all(reading.fault is None and reading.state == "ready" for reading in self._readings)

    def look(self) -> RenderableType:
        """Ask all at once, and return the screen with the changes since the last poll."""
        targets = [*self._bridges, *self._workers]
        tokens = [target.token for target in targets]
        readings = list(self._pool.map(ask, self._clients, tokens))
        changes = [Change(former, now) for former, now in zip(self._readings or readings, readings, strict=True)]
        self._readings = readings
        named = [(target.url, change) for target, change in zip(targets, changes, strict=True)]
        count = len(self._bridges)
        return screen(dict(named[:count]), dict(named[count:]), datetime.now(UTC))


def once(top: Top, console: Console, wait: Callable[[], None]) -> bool:
    """Print the changes during `wait`, and return whether all is well."""
    top.look()
    wait()
    console.print(top.look())
    return top.well


def watch(top: Top, console: Console, wait: Callable[[], None]) -> None:
    """Show the screen, a new one after each `wait`, until an exception ends it."""
    with Live(top.look(), console=console, screen=True, auto_refresh=False) as live:
        while True:
            wait()
            live.update(top.look(), refresh=True)
