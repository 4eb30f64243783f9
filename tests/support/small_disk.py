"""Small disks that become full."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def small_disk(directory: Path, size: str) -> Iterator[bool]:
    """Mount a small disk there, if that may be done; yield whether it was."""
    directory.mkdir()
    mounted = os.geteuid() == 0 and mount(directory, f"size={size}")
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.check_call(["umount", directory])


def mount(directory: Path, options: str) -> bool:
    """Mount an empty disk over a directory; return whether that may be done."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory]
    return not subprocess.call(command, stderr=subprocess.DEVNULL)
