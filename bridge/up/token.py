"""The token of a stack: the one that was given, or one made once and kept with the data."""

import secrets
from pathlib import Path

_BYTES = 24


def persistent_token(path: Path) -> str:
    """Return the token in the file `path`; make one, readable for nobody else, if there is no file."""
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        token = secrets.token_urlsafe(_BYTES)
        # Written aside and renamed: a file that is there is whole.
        unfinished = path.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        unfinished.touch(0o600, exist_ok=False)
        unfinished.write_text(token + "\n", "ascii")
        unfinished.rename(path)
        return token
