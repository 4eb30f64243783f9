"""A spool's file in a directory of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.delivery.spool.file import SpoolFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "spool-0.db"


@pytest.fixture
def file(path: Path) -> Iterator[SpoolFile]:
    opened = SpoolFile(path)
    yield opened
    opened.close()
