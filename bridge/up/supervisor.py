"""Keeps the parts of a running stack alive."""

import time
from collections.abc import Callable, Sequence
from signal import Signals

from bridge.local.errors import LocalStackError
from bridge.up.interrupts import Interrupts
from bridge.up.part import Part

RESTART_SECONDS = 1.0

_POLL_SECONDS = 0.2


class Supervisor:
    """Says when a part ended by itself and, if `restart`, starts it again: same port, same data, new process."""

    def __init__(self, parts: Sequence[Part], *, restart: bool, say: Callable[[str], None]) -> None:
        """`parts` in the order in which they need each other."""
        self._restart = restart
        self._say = say
        self._parts = parts
        self._dead_since: dict[str, float] = {}

    def watch(self, interrupts: Interrupts) -> None:
        """Look after the parts until somebody asks for the end."""
        while not interrupts.wait(_POLL_SECONDS):
            for part in self._parts:
                self._look_after(part)

    def _look_after(self, part: Part) -> None:
        if part.running:
            return
        if part.name not in self._dead_since:
            self._dead_since[part.name] = time.monotonic()
            fate = f"it is started again in {RESTART_SECONDS:g} s" if self._restart else "it stays down"
            self._say(f"{part.name} (pid {part.pid}) {_ending(part.process.returncode)}; {fate}")
        elif self._restart and time.monotonic() - self._dead_since[part.name] >= RESTART_SECONDS:
            self._start(part)

    def _start(self, part: Part) -> None:
        try:
            part.kill()  # what the dead process may have left behind
            part.launch()
            part.wait_ready()
        except LocalStackError as error:
            self._say(f"{part.name} could not be started: {error}")
            self._dead_since[part.name] = time.monotonic()
        else:
            del self._dead_since[part.name]
            self._say(f"{part.name} is back (pid {part.pid})")


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return f"was killed by {Signals(-status).name}"
    return f"ended by itself with status {status}"
