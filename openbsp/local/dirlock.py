"""Locks on directories, held by processes and released by the kernel when they are gone."""

import os
import time
from pathlib import Path

from openbsp.local.errors import DataDirectoryInUseError
from openbsp.locks import LockHeldError, lock_file

_POLL_SECONDS = 0.05


class DirectoryLock:
    """An exclusive lock on a directory (created if absent, for this user alone), kept in the file `lock` inside it.

    The lock belongs to the open file: a process that inherits `fileno()` holds it too, so a directory stays locked
    until the last child that works in it is gone, even if the parent was killed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fd: int | None = None

    def acquire(self, timeout: float) -> None:
        """Take the lock, waiting up to `timeout` seconds for the holder; DataDirectoryInUseError if it stays."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        deadline = time.monotonic() + timeout
        while self._fd is None:
            try:
                self._fd = lock_file(self._directory / "lock")
            except LockHeldError as error:
                if time.monotonic() >= deadline:
                    raise DataDirectoryInUseError(self._directory, error.holder) from None
                time.sleep(_POLL_SECONDS)

    def fileno(self) -> int:
        """Return the descriptor that holds the lock; pass it on to the children that work in the directory."""
        if self._fd is None:
            msg = "the lock is not held"
            raise RuntimeError(msg)
        return self._fd

    def release(self) -> None:
        """Release the lock; without effect when it is not held. Children that inherited it still hold it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
