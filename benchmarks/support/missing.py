"""What a benchmark needs besides the project. Who needs what cannot be had stays out, and the reason is said."""

import subprocess
from pathlib import Path

_TAIL = 15


class MissingError(Exception):
    """Something that a contestant needs cannot be had here; the message says what to do."""


def run(argv: list[str], directory: Path) -> None:
    """Run a command to its end. Raises MissingError with the end of what it printed if it fails."""
    done = subprocess.run(argv, cwd=directory, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        end = "\n".join(done.stdout.splitlines()[-_TAIL:])
        raise MissingError(f"`{' '.join(argv)}` failed:\n{end}")
