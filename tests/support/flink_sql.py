"""Flink's SQL on a cluster within one process of Java."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from support.maven import installed
from support.tools import tool

_RUN_S = 200
#: What Flink's own scripts open for its serialization.
_OPENS = [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in ("lang", "util", "time", "net", "io", "nio")]


def ask(directory: Path, statements: Mapping[str, str]) -> dict[str, list[list[str | None]]]:
    """Run statements in their order, from files in a directory; return the rows of the queries, each value as text."""
    flink = installed("flink")
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
