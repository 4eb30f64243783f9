"""Keeps the parts of a running stack alive."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from signal import Signals

from openbsp.local.errors import LocalStackError
from openbsp.local.part import Part

#: Before a restart of a part that died soon after its last start, or could not start.
RESTART_SECONDS = 1.0
SETTLED_SECONDS = 5.0

_POLL_SECONDS = 0.2


class Supervisor:
    """Reports when a part ended by itself and, if `restart`, restarts it: same port, same data, new process.

    Each part has a thread of its own: a part that waits for another to recover must not delay that one.
    """

    def __init__(self, parts: Sequence[Part], *, restart: bool, say: Callable[[str], None]) -> None:
        self._parts = parts
        self._restart = restart
        self._say = say
        self._end = threading.Event()
        self._starting: set[str] = set()

    def watch(self, until: Callable[[float], bool]) -> None:
        """Supervise the parts until `until`, which sleeps for the given seconds, returns true.

        Running parts keep running; one that is being started may have been killed.
        """
        with ThreadPoolExecutor(len(self._parts), "supervisor") as pool:
            keepers = [pool.submit(self._keep, part) for part in self._parts]
            try:
                while not until(_POLL_SECONDS):
                    for keeper in keepers:
                        if keeper.done():
                            keeper.result()
            finally:
                self._end.set()
                self._cut_short(keepers)

    def _keep(self, part: Part) -> None:
        restarted = -SETTLED_SECONDS
        while not self._end.wait(_POLL_SECONDS):
            if part.running:
                continue
            # Requests wait for it: at once, unless it dies repeatedly.
            pause = 0.0 if time.monotonic() - restarted >= SETTLED_SECONDS else RESTART_SECONDS
            again = f"it is started again in {pause:g} s" if pause else "it is started again"
            fate = again if self._restart else "it stays down"
            self._say(f"{part.name} (pid {part.pid}) {_ending(part.process.returncode)}; {fate}")
            if not self._restart:
                return
            while not self._end.wait(pause):
                pause = RESTART_SECONDS
                if self._started(part):
                    break
            restarted = time.monotonic()

    def _started(self, part: Part) -> bool:
        self._starting.add(part.name)
        try:
            part.kill()  # the dead process may have left children
            part.launch()
            part.wait_ready()
        except LocalStackError as error:
            if not self._end.is_set():
                self._say(f"{part.name} could not be started: {error}")
            return False
        else:
            self._say(f"{part.name} is back (pid {part.pid})")
            return True
        finally:
            self._starting.discard(part.name)

    def _cut_short(self, keepers: Sequence[Future[None]]) -> None:
        """Return when no thread is left; a part that is being started is killed for that."""
        while wait(keepers, timeout=_POLL_SECONDS).not_done:
            for part in self._parts:
                if part.name in self._starting:
                    part.kill()


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return f"was killed by {Signals(-status).name}"
    return f"ended by itself with status {status}"
