"""Programs for a JVM: their classes and libraries are in `target/`."""

import os
import shutil
from pathlib import Path

from support.missing import MissingError, run
from support.say import say


def environment() -> dict[str, str]:
    """Return that of this process without options for a JVM, so that it has its defaults."""
    options = ("JAVA_", "_JAVA", "JDK_JAVA")
    return {name: value for name, value in os.environ.items() if not name.startswith(options)}


def package(directory: Path, what: str) -> None:
    """Compile a program and fetch its libraries, if that is not done. Raises MissingError."""
    sources = [directory.parent / "pom.xml", directory / "pom.xml", *directory.glob("src/**/*.java")]
    built = directory / "target" / "built"
    if built.exists() and built.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return
    if shutil.which("mvn") is None:
        raise MissingError("Maven and a JDK, 17 or newer, are needed (Debian and Ubuntu: apt install maven)")
    say(f"mvn package: compiling {what}")
    run(["mvn", "--batch-mode", "--quiet", "clean", "package"], directory)
    built.touch()
