"""One worker for each data directory: two would take each other's stores away at every rebalance."""

import fcntl
import os
from pathlib import Path

from streams.errors import DataDirectoryError


class DirectoryLock:
    """Held from the start of a worker to its end, however that comes: the system releases it with the process."""

    def __init__(self, directory: Path) -> None:
        """Make the directory if it is not there, and take the lock. Raises DataDirectoryError."""
        try:
            # Trap: the mode is that of the last directory only, and this one's parent is of the worker alone, too.
            directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            directory.mkdir(exist_ok=True, mode=0o700)
            self._file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirectoryError(f"{directory}: cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(self._file, 20, 0).decode("ascii", "replace").strip()
            os.close(self._file)
            raise DataDirectoryError(
                f"{directory}: in use by another worker (process {owner or 'unknown'}); "
                "give each worker a STREAMS_DATA_DIR of its own"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others use the directory."""
        os.close(self._file)
