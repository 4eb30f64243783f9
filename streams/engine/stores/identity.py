"""The name of a data directory: by it the group recognises a worker that was killed and restarted.

Holding the directory's lock proves that the former process with this name is gone.
"""

import os
import secrets
from pathlib import Path


def identity(directory: Path) -> str:
    """Return the name of a directory whose lock is held, always the same; a copy of it has another. Raises OSError.

    It is created if missing.
    """
    path = directory / "identity"
    found = directory.stat()
    place = f"{found.st_dev}:{found.st_ino}"
    try:
        name, _, made_at = path.read_text("ascii").strip().partition(" ")
    except (FileNotFoundError, UnicodeDecodeError):
        name, made_at = "", ""
    # Trap: two workers with one name would fence each other endlessly.
    if not name or made_at != place:
        name = secrets.token_hex(8)
        made = path.with_suffix(".new")
        made.write_text(f"{name} {place}\n", "ascii")
        os.replace(made, path)  # noqa: PTH105 as one step
    return name
