"""Pipes by whose end a process learns that this one is gone, however it went.

Trap: what a team's test forks, such as a consumer in `multiprocessing.Process`, inherits such a pipe and would keep it
open, to the end of this process and beyond.
"""

from __future__ import annotations

import os
from typing import IO
from weakref import WeakSet

_held: WeakSet[IO[bytes]] = WeakSet()


def hold(pipe: IO[bytes] | None) -> None:
    """Have nobody but this process hold the pipe: processes that it forks close it."""
    if pipe is not None:
        _held.add(pipe)


def _let_go() -> None:
    for pipe in list(_held):
        pipe.close()


os.register_at_fork(after_in_child=_let_go)
