"""Flink's SQL on a cluster within one process of Java: jars of Maven Central, fetched once and kept in the cache."""

import shutil
import subprocess
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from openbsp.local.artifacts import cache_directory
from support.tools import tool

_FILES = Path(__file__).parent / "flink"
_FETCH_S = 600
_RUN_S = 200
#: What Flink's own scripts open for its serialization.
_OPENS = [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in ("lang", "util", "time", "net", "io", "nio")]


def installed() -> Path:
    """Return a folder with Flink's jars and the compiled program that runs statements."""
    maven, javac = tool("mvn", "maven"), tool("javac", "default-jdk-headless")
    files = sorted(_FILES.iterdir())
    directory = cache_directory() / f"flink-{sha256(b''.join(path.read_bytes() for path in files)).hexdigest()[:12]}"
    if not (directory / "done").exists():
        directory.mkdir(parents=True, exist_ok=True)
        for path in files:
            shutil.copy(path, directory)
        fetch = [maven, "-q", "-B", "-ntp", "dependency:copy-dependencies", "-DoutputDirectory=jars"]
        for command in (fetch, [javac, "-cp", "jars/*", "-d", ".", "Ask.java"]):
            done = subprocess.run(command, cwd=directory, timeout=_FETCH_S, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        (directory / "done").touch()
    return directory


def ask(flink: Path, directory: Path, statements: Mapping[str, str]) -> dict[str, list[list[str | None]]]:
    """Run statements in their order; return the rows of those that are queries, each value as text."""
    names = []
    for name, statement in statements.items():
        (directory / name).write_text(statement, "utf-8")
        names.append(directory / name)
    command = [tool("java", "default-jre-headless"), *_OPENS, "-Xmx1g", "-cp", f"{flink}:{flink}/jars/*", "Ask", *names]
    done = subprocess.run(command, cwd=directory, timeout=_RUN_S, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows: dict[str, list[list[str | None]]] = {}
    for line in done.stdout.splitlines():
        name, *values = line.split("\t")
        rows.setdefault(name, []).append([None if value == "null" else value for value in values])
    return rows
