"""Projects of other teams that use the test kit: their files, environment and pytest. Imports nothing of ours."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support.environment import clean_environment

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "test-your-consumer.md"
#: The files that the page shows, by name.
PAGE_FILES: Mapping[str, str] = dict(
    re.findall(r"^```python file=(\S+)\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
)
PAGE_TESTS = sum(text.count("def test_") for text in PAGE_FILES.values())

_UV = Path(sys.executable).with_name("uv")


def make_environment(
    directory: Path, *requirements: str, python: str | None = None, options: tuple[str, ...] = ()
) -> Path:
    """Make a virtual environment with what the requirements name, and return its Python."""
    for arguments in (
        ["venv", "--quiet", *(["--python", python] if python else ["--python", sys.executable]), directory],
        ["pip", "install", "--quiet", "--python", directory / "bin" / "python", *options, *requirements],
    ):
        # uv asks only the indexes that it is told of; what pip is told by variables counts here as well.
        indexes = {"UV_DEFAULT_INDEX": os.environ["PIP_INDEX_URL"]} if "PIP_INDEX_URL" in os.environ else {}
        subprocess.run([_UV, *arguments], env={**os.environ, **indexes}, timeout=300, check=True)
    return directory / "bin" / "python"


class Project:
    """A directory with a team's files, which may be in folders, and their environment."""

    def __init__(self, directory: Path, python: Path | str, files: Mapping[str, str], **variables: str) -> None:
        self.directory = directory
        self.environment = {
            **clean_environment("OPENBSP_TESTKIT_", "PYTEST_", "TESTCONTAINERS_"),
            "PYTHONDONTWRITEBYTECODE": "1",
            **variables,
        }
        self._python = python
        for name, text in files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text, "utf-8")

    def command(self, *arguments: str) -> list[str]:
        """Return pytest's command line."""
        return [str(self._python), "-m", "pytest", "-p", "no:cacheprovider", "--durations=5", *arguments]

    def pytest(self, *arguments: str, seconds: float = 250) -> str:
        """Run pytest, show and return what it wrote; AssertionError unless all passed."""
        result = subprocess.run(
            self.command(*arguments),
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        print(result.stdout, result.stderr)
        assert result.returncode == 0
        return result.stdout
