"""The settings of the test kit: variables of the environment, else ini options of pytest."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_VARIABLES = "OPENBSP_TESTKIT_"
_INI = "openbsp_"

DESCRIPTIONS: Mapping[str, str] = {
    "backend": "where the stack runs: `containers` or `local` (default: containers where they can be had)",
    "services": "where the services come from: a wheel, a directory with wheels, a virtual environment that has them, "
    "or a requirement such as `openbsp-stream-bridge==1.2.3` (default: beside the kit's own wheel, else the index)",
    "python": "the Python of the services' environment, 3.11 or newer (default: this one, else one on PATH)",
    "cache": "directory of the services' environments (default: openbsp-testkit in $XDG_CACHE_HOME or ~/.cache)",
    "image": "the services' image (default: openbsp-stream-bridge in the kit's version)",
}
"""What each setting means, by name."""


@dataclass(frozen=True)
class Options:
    """The settings; an empty one has its default. A variable counts before an ini option."""

    backend: str = ""
    services: str = ""
    python: str = ""
    cache: str = ""
    image: str = ""

    @classmethod
    def read(
        cls,
        ini: Callable[[str], str] = lambda _: "",
        *,
        directory: Path | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Options:
        """Read the variables and, through `ini`, the ini options, whose paths are relative to `directory`."""
        values = {}
        for setting in fields(cls):
            value = environment.get(variable(setting.name), "")
            if not value and (value := ini(ini_name(setting.name)).strip()) and directory is not None:
                # A cache directory is created if missing.
                value = _absolute(value, directory, always=setting.name == "cache")
            values[setting.name] = value
        return cls(**values)


def variable(name: str) -> str:
    """Return the variable of the environment for a setting."""
    return _VARIABLES + name.upper()


def ini_name(name: str) -> str:
    """Return the ini option for a setting."""
    return _INI + name


def _absolute(value: str, directory: Path, *, always: bool) -> str:
    """Return the path below `directory` where there is one, or always; other values stay as they are."""
    path = directory / os.path.expanduser(value)  # noqa: PTH111 the directory is the one to begin with
    return str(path) if always or path.exists() else value
