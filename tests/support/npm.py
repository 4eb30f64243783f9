"""Packages of Node that tests need: pinned in a folder of tests/support, installed once, no script of theirs run."""

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

from openbsp.local.artifacts import cache_directory
from support.tools import tool

_INSTALL_S = 240


def installed(name: str) -> Path:
    """Return a folder with the files of tests/support/NAME and the packages that they name."""
    npm = tool("npm", "npm")
    files = sorted(path for path in (Path(__file__).parent / name).iterdir() if path.is_file())
    digest = sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
    directory = cache_directory() / f"{name}-{digest}"
    if not (directory / "done").exists():
        directory.mkdir(parents=True, exist_ok=True)
        for path in files:
            shutil.copy(path, directory)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=directory, timeout=_INSTALL_S, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (directory / "done").touch()
    return directory
