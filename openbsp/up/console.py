"""The output of `bridge up` on standard error: the parts' logs and its own messages, each line with its source."""

import os
import re
import sys
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import TextIO

import msgspec

from openbsp.log import as_text

OWN_NAME = "up"

_WIDTH = len("schema_registry")
#: ANSI colours. The supervisor's messages are bold.
_COLOURS: Mapping[str, str] = MappingProxyType(
    {"kafka": "33", "schema_registry": "35", "bridge": "36", "streams": "32", OWN_NAME: "1"}
)


#: The broker and the registry log their start and stop at length.
_CHATTER = re.compile(r"\S+ +(INFO|DEBUG|TRACE) ")
_CHATTY = frozenset({"kafka", "schema_registry"})


class Console:
    """Lines from many threads, never mixed. Colours only on a terminal, and not if NO_COLOR is set.

    Of the servers that are not ours only warnings and errors are shown, unless `verbose`.
    """

    def __init__(self, output: TextIO = sys.stderr, *, verbose: bool = False) -> None:
        self._output = output
        self._verbose = verbose
        self._lock = threading.Lock()
        self._coloured = output.isatty() and not os.environ.get("NO_COLOR")

    def log(self, name: str, line: str) -> None:
        """Write a line of the part `name`."""
        if not self._verbose and name in _CHATTY and _CHATTER.match(line):
            return
        line = _readable(line)
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


def _readable(line: str) -> str:
    """Return a line of our own services, which write JSON where no people read, as text."""
    if not line.startswith('{"'):
        return line
    try:
        members = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return line
    return as_text(members) if isinstance(members, dict) else line
