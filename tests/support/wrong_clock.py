"""A clock of the machine that is wrong, for processes that are started with its variables."""

import struct
import subprocess
from pathlib import Path

from support.tools import tool

_SOURCE = Path(__file__).with_suffix(".c")


class WrongClock:
    """Is right until it is set."""

    def __init__(self, directory: Path) -> None:
        """Build what the processes load, in `directory`."""
        self._file, library = directory / "wrong-clock", directory / "wrong-clock.so"
        self.set(0)
        subprocess.run([tool("cc", "gcc"), "-shared", "-fPIC", "-O1", "-o", library, _SOURCE], check=True)
        self.variables = {"LD_PRELOAD": str(library), "WRONG_CLOCK": str(self._file)}

    def set(self, ahead_s: int) -> None:
        """Let it be ahead by so many seconds, behind if they are negative."""
        # In place: the processes have the file mapped.
        with self._file.open("r+b" if self._file.exists() else "w+b") as file:
            file.write(struct.pack("q", ahead_s))
