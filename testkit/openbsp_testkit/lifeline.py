"""Pipes whose end tells a process that this one is gone, however it ended.

Trap: processes that a team's test forks, such as a consumer in `multiprocessing.Process`, inherit such a pipe and would
keep it open, to the end of this process and beyond.
"""

from __future__ import annotations

import os
from typing import IO
from weakref import WeakSet

_held: WeakSet[IO[bytes]] = WeakSet()


def hold(pipe: IO[bytes] | None) -> None:
    """Keep the pipe to this process: forked processes close it."""
    if pipe is not None:
        _held.add(pipe)


def _let_go() -> None:
    for pipe in list(_held):
        pipe.close()


os.register_at_fork(after_in_child=_let_go)
