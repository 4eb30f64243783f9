"""Locks on directories, held by processes and released by the kernel when they are gone."""

import fcntl
import os
import time
from pathlib import Path

from openbsp.local.errors import DataDirectoryInUseError

_POLL_SECONDS = 0.05


class DirectoryLock:
    """An exclusive lock on a directory (created if absent, for this user alone), kept in the file `lock` inside it.

    The lock belongs to the open file, not to the process: whoever inherits `fileno()` holds it too, so a directory
    stays locked until the last child that works in it is gone, even if the parent was killed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fd: int | None = None

    def acquire(self, timeout: float) -> None:
        """Take the lock, waiting up to `timeout` seconds for the holder; DataDirectoryInUseError if it stays."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._wait(fd, time.monotonic() + timeout)
            os.truncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def fileno(self) -> int:
        """Return the descriptor that holds the lock; pass it on to the children that work in the directory."""
        if self._fd is None:
            msg = "the lock is not held"
            raise RuntimeError(msg)
        return self._fd

    def release(self) -> None:
        """Let go; without effect when the lock is not held. Children that inherited it still hold it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _wait(self, fd: int, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    owner = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
                    raise DataDirectoryInUseError(self._directory, owner) from None
                time.sleep(_POLL_SECONDS)
            else:
                return
