"""Kills of processes, and the requests that were in their hands. Imports nothing of ours."""

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import psutil

from support.load import Attempt
from support.wait import eventually


class Kill(NamedTuple):
    """When processes were killed, and when the last of them was gone, by time.monotonic()."""

    at: float
    gone: float

    def hit(self, attempt: Attempt) -> bool:
        """Return whether a request without an answer may have been on a connection of theirs."""
        return attempt.started <= self.gone and self.at <= attempt.started + attempt.seconds


def kill(pids: Iterable[int], act: Callable[[], object]) -> Kill:
    """Kill processes by `act`, and return when they are gone: the kernel has closed their connections by then."""
    processes = [psutil.Process(pid) for pid in pids]
    at = time.monotonic()
    act()
    eventually(lambda: survivors(processes) == [], every=0.01)
    return Kill(at, time.monotonic())


def survivors(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return those that run. What watches a process that has ended ends a moment later.

    Trap: the first thread of a process that is killed can be gone before the others, and their connections are open.
    """
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1):
                found.append(process)
    return found
