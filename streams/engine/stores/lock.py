"""One worker for each data directory: two would fight for the stores at every rebalance."""

import os
from pathlib import Path

from openbsp.locks import LockHeldError, lock_file
from streams.engine.errors import DataDirectoryError


class DirectoryLock:
    """Held from the start of a worker to its end, however that comes: the system releases it with the process."""

    def __init__(self, directory: Path, setting: str = "data_dir") -> None:
        """Create the directory if missing, and take the lock; `setting` is the operator's name of what gives it.

        Raises DataDirectoryError.
        """
        try:
            # Trap: the mode is that of the last directory only, and this one's parent is of the worker alone, too.
            directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            directory.mkdir(exist_ok=True, mode=0o700)
            self._file = lock_file(directory / "lock")
        except OSError as error:
            raise DataDirectoryError(f"{directory}: cannot be used: {error.strerror}") from error
        except LockHeldError as error:
            raise DataDirectoryError(
                f"{directory}: in use by another worker (process {error.holder or 'unknown'}); "
                f"give each worker a {setting} of its own"
            ) from None

    def release(self) -> None:
        """Release the directory."""
        os.close(self._file)
