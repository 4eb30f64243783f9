"""What the contestants need before they can start. What cannot be had is told, and its contestant stays out."""

import sys

from support.missing import run
from support.say import say

from join.contestants import HERE, JAVA, QUIX_VENV
from support.maven import package


def java() -> None:
    """Compile benchmarks/java and fetch its libraries, if that is not done. Raises MissingError."""
    package(JAVA, "the Kafka Streams job")


def quix() -> None:
    """Make the virtual environment of the Quix Streams job, if it is not there. Raises MissingError."""
    requirements = HERE / "requirements.txt"
    installed = QUIX_VENV / "installed-in"
    stamp = f"{QUIX_VENV} {requirements.read_text('utf-8')}"
    if installed.exists() and installed.read_text("utf-8") == stamp:
        return
    say("pip install: the libraries of the Quix Streams job")
    run([sys.executable, "-m", "venv", "--clear", str(QUIX_VENV)], HERE)
    pip = [str(QUIX_VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--requirement", str(requirements)], HERE)
    installed.write_text(stamp, "utf-8")
