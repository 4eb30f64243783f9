"""A file of tokens, changed under running services: they reload it when it changes, and must be able to."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openbsp.errors import TokensError
from openbsp.files import replace
from openbsp.http.tokens.token_set import Token, TokenSet, parse_file


def read(path: Path) -> list[Token]:
    """Return the tokens in a file. Raises TokensError, also for names that are used twice; OSError."""
    tokens = parse_file(_text(path))
    TokenSet(tokens)
    return tokens


def revoke(path: Path, name: str, *, others: int = 0) -> bool:
    """Remove a token's lines from a file, atomically; keep everything else. Return whether there was one.

    What is left ends with a line feed. `others` is how many tokens its readers have besides. Raises TokensError, and
    changes nothing, if they could not read the file afterwards: trap: a service that cannot keeps its former tokens,
    the revoked one among them. Raises OSError.
    """
    with _alone_in(path.resolve().parent):
        return _revoke(path, name, others)


def _revoke(path: Path, name: str, others: int) -> bool:
    former = _text(path)
    lines = former.splitlines(keepends=True)
    kept = [line for line in lines if line.partition("#")[0].split()[:1] != [name]]
    if len(kept) == len(lines):
        return False
    text = "".join(kept)
    # A service that has read a file that ended so takes no other for whole.
    if text and not text.endswith("\n"):
        text += "\n"
    try:
        left = parse_file(text)
        TokenSet(left)
    except TokensError as error:
        faults = _faults(former) or error.faults
        raise TokensError(
            [f"{path}: {fault}; until it is repaired, services keep the tokens that they have" for fault in faults]
        ) from None
    if not left and not others:
        why = "is the only token, and without any a service keeps the ones that it has"
        raise TokensError([f"{path}: {name} {why}: add another first (`bridge token new`), or stop the service"])
    _replace(path, text)
    return True


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Lock out other changes of files there by this module: the second would restore what the first removed."""
    # Not the file itself, which is replaced.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _faults(text: str) -> list[str]:
    """Return the faults in a file's text, with the numbers of its lines."""
    try:
        parse_file(text)
    except TokensError as error:
        return error.faults
    return []


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise TokensError([f"{path}: not UTF-8 text"]) from None


def _replace(path: Path, text: str) -> None:
    """Replace a file atomically, with the same owner and rights: readers see the old or the new one."""
    # Trap: replacing a link would leave the file behind it as it was.
    target = path.resolve()
    former = target.stat()
    replace(target, text, mode=stat.S_IMODE(former.st_mode), owner=(former.st_uid, former.st_gid))
