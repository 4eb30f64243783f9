"""How much room the disk of the stores has: RocksDB ends the worker when it cannot write."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from openbsp.threads import in_thread

_EVERY_S = 10.0
_SILENCE_S = 5.0


async def watch(directory: Path, told: Callable[[float], object]) -> None:
    """Call `told` with the free share regularly; with 0 while the disk does not answer."""
    while True:
        # Trap: a volume that hangs keeps whoever asks, and must not keep the event loop.
        asked = asyncio.create_task(in_thread(free_share, directory))
        done, _ = await asyncio.wait([asked], timeout=_SILENCE_S)
        if not done:
            told(0.0)
        told(await asked)
        await asyncio.sleep(_EVERY_S)


def free_share(directory: Path) -> float:
    """Return the free share of the disk of a directory, of space or of inodes, whichever is less.

    0 if it is mounted read-only, or cannot be asked. A directory that is not there yet is on the disk of the next one
    above it.
    """
    try:
        while not directory.exists() and directory != directory.parent:
            directory = directory.parent
        disk = os.statvfs(directory)
    except OSError:
        return 0.0
    if disk.f_flag & os.ST_RDONLY:
        return 0.0
    # Trap: file systems that make inodes as they need them say that there are none.
    parts = [(disk.f_bavail, disk.f_blocks), (disk.f_favail, disk.f_files)]
    return min((free / total for free, total in parts if total), default=0.0)
