"""Jars of Maven Central that tests need: what the pom of a folder of tests/support names, fetched once and kept."""

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

from openbsp.local.artifacts import cache_directory
from support.tools import tool

_FETCH_S = 600


def installed(name: str) -> Path:
    """Return a folder with the files of tests/support/NAME, in `jars` what its pom names, and its programs compiled."""
    maven = tool("mvn", "maven")
    files = sorted((Path(__file__).parent / name).iterdir())
    directory = cache_directory() / f"{name}-{sha256(b''.join(path.read_bytes() for path in files)).hexdigest()[:12]}"
    if not (directory / "done").exists():
        directory.mkdir(parents=True, exist_ok=True)
        for path in files:
            shutil.copy(path, directory)
        _run(directory, maven, "-q", "-B", "-ntp", "dependency:copy-dependencies", "-DoutputDirectory=jars")
        for program in directory.glob("*.java"):
            _run(directory, tool("javac", "default-jdk-headless"), "-cp", "jars/*", "-d", ".", program.name)
        (directory / "done").touch()
    return directory


def _run(directory: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=directory, timeout=_FETCH_S, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
