"""Sources of Go modules at a fixed version. Go checks each against its public log of sums."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from openbsp.local.artifacts import cache_directory
from support.tools import tool

_DOWNLOAD_S = 300
_BUILD_S = 1500


def source(module: str, version: str) -> Path:
    """Return the directory with a module's files, which nobody may write to."""
    command = [tool("go", "golang-go"), "mod", "download", "-json", f"{module}@{version}"]
    # Not in a directory of the project: there is none of Go.
    done = subprocess.run(
        command, cwd=tempfile.gettempdir(), capture_output=True, text=True, timeout=_DOWNLOAD_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(json.loads(done.stdout)["Dir"])


def built(name: str, module: str, version: str, tags: str = "") -> Path:
    """Return the program `name` of a module. The first time on a machine that takes minutes; it is kept then.

    Built in a copy of the module: `go install` refuses those that replace others.
    """
    kept = cache_directory() / f"{name}-{version}"
    if kept.exists():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as directory:
        copy, program = Path(directory) / "source", Path(directory) / name
        # Modules are kept read-only; of the copy, modes do not matter.
        shutil.copytree(source(module, version), copy, copy_function=shutil.copyfile)
        for folder in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        subprocess.run(
            [tool("go", "golang-go"), "build", "-trimpath", "-tags", tags, "-o", program, f"./cmd/{name}"],
            cwd=copy,
            env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
            timeout=_BUILD_S,
            check=True,
        )
        shutil.move(program, kept)
    return kept
