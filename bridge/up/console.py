"""What `bridge up` writes on standard error: the parts' logs and its own words, each line with its source."""

import os
import sys
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import TextIO

OWN_NAME = "up"

_WIDTH = len("schema_registry")
#: ANSI colours. What the supervisor says is bold.
_COLOURS: Mapping[str, str] = MappingProxyType(
    {"kafka": "33", "schema_registry": "35", "bridge": "36", "streams": "32", OWN_NAME: "1"}
)


class Console:
    """Lines from many threads, never mixed. Colours only on a terminal, and not if NO_COLOR is set."""

    def __init__(self, output: TextIO = sys.stderr) -> None:
        self._output = output
        self._lock = threading.Lock()
        self._coloured = output.isatty() and not os.environ.get("NO_COLOR")

    def log(self, name: str, line: str) -> None:
        """Write a line of the part `name`."""
        label = f"{name:{_WIDTH}} |"
        if self._coloured:
            label = f"\x1b[{_COLOURS[name]}m{label}\x1b[0m"
        with self._lock:
            self._output.write(f"{label} {line}\n")
            self._output.flush()

    def say(self, text: str) -> None:
        """Write what happened to the stack; a text of several lines stays together."""
        for line in text.splitlines():
            self.log(OWN_NAME, line)
