"""The watchdog: ends a process whose event loop is blocked.

A blocked loop does not end by itself: the group gives the partitions to others after the session time-out, but the
process stays, with its connections, and no supervisor replaces it.
"""

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streams.engine.errors import FrozenError


@contextmanager
def watchdog(
    limit_s: float, on_frozen: Callable[[FrozenError], None], *, look_every_s: float = 1.0
) -> Iterator[threading.Thread]:
    """Watch the running loop; call `on_frozen`, in a thread, once it has not run for `limit_s` seconds.

    Time in which the whole process was suspended does not count: a process that resumes finds out by itself what it has
    lost.
    """
    loop, thread = asyncio.get_running_loop(), threading.get_ident()
    ran, left = threading.Event(), threading.Event()

    def watch() -> None:
        # Trap: checks are counted, not seconds: a suspended process does not check.
        missed = 0
        while not left.is_set():
            ran.clear()
            loop.call_soon_threadsafe(ran.set)
            if left.wait(look_every_s):
                return
            missed = 0 if ran.is_set() else missed + 1
            if missed * look_every_s >= limit_s:
                on_frozen(
                    FrozenError(f"event loop has not run for {limit_s:.0f} s; it is blocked in:\n{_stack(thread)}")
                )
                return

    watcher = threading.Thread(target=watch, name="watchdog", daemon=True)
    watcher.start()
    try:
        yield watcher
    finally:
        left.set()
        watcher.join()


def _stack(thread: int) -> str:
    frame = sys._current_frames().get(thread)  # noqa: SLF001 documented in spite of its name
    return "unknown" if frame is None else "".join(traceback.format_stack(frame, limit=12)).rstrip()
