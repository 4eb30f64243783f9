"""Files that others read while they are replaced, and the directories that name them."""

import os
from pathlib import Path
from uuid import uuid4


def replace(path: Path, text: str, *, mode: int, owner: tuple[int, int]) -> None:
    """Write a whole file in the place of another, or of none: readers see the former one or the new one.

    `owner` are the ids of its user and group. It is on the disk when this returns. Raises OSError: what was there is
    left then, unless it is the directory that cannot be synced.
    """
    new = path.with_name(f"{path.name}.{uuid4().hex}.new")
    # Trap: the directory may be another user's, and this may run as root: only the new file is written.
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            if owner != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, *owner)
            file.write(text.encode())
            file.flush()
            os.fsync(descriptor)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Bring the names in a directory to the disk: those of new files are not there before. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
