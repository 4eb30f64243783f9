"""The source of the services' distribution."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from openbsp_testkit.errors import ServicesError
from openbsp_testkit.options import Options, variable

DISTRIBUTION = "openbsp-stream-bridge"
SUMS = "SHA256SUMS"
"""File beside wheels with their sums, as `sha256sum` writes it."""

_WHEEL = re.compile(r"openbsp_stream_bridge-([^-]+)-.*\.whl")


@dataclass(frozen=True)
class Wheel:
    """A wheel file. Its installation is identified by its content."""

    path: Path

    @property
    def identity(self) -> str:
        """The sha256 of the file; ServicesError if that is not what SHA256SUMS beside it says."""
        actual = hashlib.sha256(self.path.read_bytes()).hexdigest()
        sums = self.path.with_name(SUMS)
        if sums.is_file():
            listed = re.search(
                rf"^([0-9a-f]{{64}}) [ *]{re.escape(self.path.name)}$", sums.read_text("utf-8"), re.MULTILINE
            )
            if listed is not None and listed[1] != actual:
                raise ServicesError(f"{self.path} has sha256 {actual}, but {sums} says {listed[1]}")
        return actual

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Requirement:
    """A requirement that pip finds in its configured indexes, or in a repository."""

    text: str

    @property
    def identity(self) -> str:
        """The text itself."""
        return self.text

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Installed:
    """A virtual environment that has the services; the kit changes nothing in it."""

    python: Path

    def __str__(self) -> str:
        return str(self.python.parent.parent)


Source = Wheel | Requirement | Installed


def find(options: Options, kit: Distribution | None = None) -> Source:
    """Return the source in the settings, else the one that matches the kit itself. ServicesError.

    That is: the environment of the checkout for an editable kit, the same commit for one from a repository, the wheel
    beside the kit's own wheel, and else the kit's version in the index.
    """
    if options.services:
        return _named(options.services)
    kit = distribution("openbsp-testkit") if kit is None else kit
    origin: dict[str, Any] = json.loads(kit.read_text("direct_url.json") or "{}")
    url = origin.get("url", "")
    if origin.get("dir_info", {}).get("editable") and _python_with_services(Path(sys.prefix)) is not None:
        return Installed(Path(sys.executable))
    if vcs := origin.get("vcs_info"):
        # Without a name before it: pip before 24 takes no `name @ git+file:///...`.
        return Requirement(f"{vcs['vcs']}+{url}@{vcs['commit_id']}")
    if url.startswith("file:"):
        beside = Path(unquote(urlsplit(url).path)).parent
        if found := _wheel_in(beside, kit.version):
            return found
    return Requirement(f"{DISTRIBUTION}=={kit.version}")


def _named(text: str) -> Source:
    path = Path(text).expanduser().absolute()
    if path.suffix == ".whl" and path.is_file():
        return Wheel(path)
    if path.is_dir():
        if python := _python_with_services(path):
            return Installed(python)
        if found := _wheel_in(path, None):
            return found
        raise ServicesError(
            f"{variable('services')}={text}: this directory is neither a virtual environment with {DISTRIBUTION} nor "
            "has it a wheel of that"
        )
    if re.match(r"[A-Za-z][\w.-]*\s*(?:[\[=<>!~@+]|$)", text):
        return Requirement(text)
    raise ServicesError(f"{variable('services')}={text}: there is no such file or directory, and it is no requirement")


def _python_with_services(environment: Path) -> Path | None:
    """Return the interpreter of an environment that has the command `bridge`."""
    directory = environment / "bin"
    return directory / "python" if (directory / "bridge").is_file() and (directory / "python").exists() else None


def _wheel_in(directory: Path, version: str | None) -> Wheel | None:
    """Return the wheel of the services in a directory: that of `version`, else the newest file."""
    wheels = [
        path
        for path in directory.glob("*.whl")
        if (match := _WHEEL.fullmatch(path.name)) and version in {None, match[1]}
    ]
    return Wheel(max(wheels, key=lambda path: path.stat().st_mtime)) if wheels else None
