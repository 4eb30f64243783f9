"""The test kit as another team uses it: what docs/test-your-consumer.md shows, in a pytest run of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "test-your-consumer.md"
FILES = dict(re.findall(r"^```python file=(\S+)\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL))

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("backend", ["local", "containers"])
def test_the_page_works_as_it_stands(backend, tmp_path, request):
    """In a directory with nothing but its files, with warnings as errors, and the head says where the stack ran."""
    if backend == "containers":
        request.getfixturevalue("own_image")
    assert {"reads.py", "test_reads.py", "test_habits.py", "test_views.py"} == FILES.keys()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", "utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--durations=5"],
        cwd=tmp_path,
        env={**os.environ, "BRIDGE_TEST_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    print(result.stdout, result.stderr)
    assert result.returncode == 0
    assert f"openbsp stack: {backend} (as BRIDGE_TEST_BACKEND says)" in result.stdout
    assert re.search(r"=+ 3 passed in ", result.stdout)
