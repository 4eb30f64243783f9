"""Programs that some tests need beside Python's packages."""

import os
import shutil

import pytest


def tool(name: str, package: str) -> str:
    """Return the path of a program; without it the test is skipped, and fails in CI, which installs it.

    `package` is what has it on Debian and Ubuntu.
    """
    path = shutil.which(name)
    if path is None:
        reason = f"{name} is not installed (on Debian and Ubuntu: apt install {package})"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path
