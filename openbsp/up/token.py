"""The token of a stack: the given one, or one made once and kept with the data."""

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_NAME = "local"


@dataclass(frozen=True, slots=True)
class StackToken:
    """A token, and the text of BRIDGE_TOKENS that contains it (and maybe others)."""

    token: str
    tokens: str

    @classmethod
    def of_tokens(cls, tokens: str) -> Self:
        """Return the first token of a text as BRIDGE_TOKENS holds it; the bridge itself reports invalid ones."""
        first = re.split(r"[,\s]+", tokens.strip(", \t\r\n"))[0]
        return cls(first.partition("=")[2].partition("@")[0], tokens)

    @classmethod
    def kept_in(cls, path: Path) -> Self:
        """Return the token in the file `path`; make one, readable by this user alone, if there is no file."""
        if not path.exists():
            # Written aside and renamed: an existing file is complete.
            unfinished = path.with_suffix(".new")
            unfinished.unlink(missing_ok=True)
            unfinished.touch(0o600, exist_ok=False)
            unfinished.write_text(secrets.token_urlsafe(24) + "\n", "ascii")
            unfinished.rename(path)
        token = path.read_text("ascii").strip()
        return cls(token, f"{_NAME}={token}")
