"""What a benchmark needs besides the project. Who needs what cannot be had stays out, and the reason is said."""

import subprocess
from pathlib import Path
from subprocess import PIPE, STDOUT

_TAIL = 15
_PATIENCE_S = 300.0


class MissingError(Exception):
    """Something that a contestant needs cannot be had here; the message says what to do."""


def run(argv: list[str], directory: Path) -> None:
    """Run a command to its end. Raises MissingError with the end of what it printed if it fails, or takes minutes."""
    try:
        done = subprocess.run(
            argv, cwd=directory, check=False, text=True, stdout=PIPE, stderr=STDOUT, timeout=_PATIENCE_S
        )
    except subprocess.TimeoutExpired as error:
        raise MissingError(f"`{' '.join(argv)}` was not done after {_PATIENCE_S:.0f} s") from error
    if done.returncode != 0:
        end = "\n".join(done.stdout.splitlines()[-_TAIL:])
        raise MissingError(f"`{' '.join(argv)}` failed:\n{end}")
