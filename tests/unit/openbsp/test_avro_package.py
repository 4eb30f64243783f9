"""Where another package `avro` was installed over ours, or hides it, both commands say so in one sentence and end."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
START = "import sys; sys.path[:0] = sys.argv[1:3]; sys.argv[1:] = ['--help']; from {0}.__main__ import main; main()"


def run(program: str, first: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of this checkout with a directory in front of everything else."""
    return subprocess.run(
        [sys.executable, "-I", "-c", START.format(program), first, ROOT], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("program", ["bridge", "streams"])
def test_they_start_with_their_own(program, tmp_path):
    result = run(program, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout


@pytest.mark.parametrize("program", ["bridge", "streams"])
@pytest.mark.parametrize(
    "files",
    [
        {"__init__.py": "__version__ = '1.12.0'\n", "errors.py": "class AvroException(Exception): ...\n"},
        {"__init__.py": "from nowhere_at_all import something\n"},
    ],
    ids=["apache", "broken"],
)
def test_a_foreign_package_is_named_in_one_sentence(program, files, tmp_path):
    (tmp_path / "avro").mkdir()
    for name, text in files.items():
        (tmp_path / "avro" / name).write_text(text, "utf-8")
    result = run(program, tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(f"{program}: the package `avro` ")
    assert "Install openbsp-stream-bridge in an environment of its own" in result.stderr
    assert len(result.stderr.splitlines()) == 1
