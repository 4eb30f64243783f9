"""Exclusive locks on files, held by processes and released by the kernel when they are gone, however they end."""

import fcntl
import os
from pathlib import Path


class LockHeldError(Exception):
    """Another process holds the lock: `holder`, its process id as a text, empty if that is unknown."""

    def __init__(self, holder: str) -> None:
        """Set the holder."""
        super().__init__(f"held by process {holder or 'unknown'}")
        self.holder = holder


def lock_file(path: Path) -> int:
    """Lock the file at `path` (created for this user only), and write this process's id into it.

    Returns the descriptor that holds the lock: closing it releases it; a process that inherits it holds the lock too.
    Raises LockHeldError at once, and OSError.

    Trap: not POSIX's kind of lock, which a process loses when it closes any descriptor of the file.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
                return descriptor
            # Trap: its former holder removed it between the two. A lock on an unlinked file excludes nobody.
            os.close(descriptor)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise LockHeldError(holder) from None
        except BaseException:
            os.close(descriptor)
            raise


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock on the file at `path`; the file is not made."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
