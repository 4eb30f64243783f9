"""The room on the disk of the stores, as the kernel tells it."""

import errno
import os
from types import SimpleNamespace

import pytest

from streams.disk import free_share


def disk(*, space: int = 80, inodes: int = 90, of_inodes: int = 100, flags: int = 0) -> SimpleNamespace:
    return SimpleNamespace(f_bavail=space, f_blocks=100, f_favail=inodes, f_files=of_inodes, f_flag=flags)


@pytest.mark.parametrize(
    ("found", "share"),
    [
        (disk(), 0.8),
        (disk(space=0), 0.0),
        (disk(inodes=1), 0.01),
        (disk(inodes=0, of_inodes=0), 0.8),
        (disk(flags=os.ST_RDONLY), 0.0),
    ],
    ids=["room", "no space", "hardly an inode", "inodes without number", "read-only"],
)
def test_the_least_of_what_a_store_needs_is_told(monkeypatch, tmp_path, found, share):
    monkeypatch.setattr(os, "statvfs", lambda _: found)
    assert free_share(tmp_path) == share


def test_a_disk_that_cannot_be_asked_has_no_room(monkeypatch, tmp_path):
    def fails(_):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "statvfs", fails)
    assert free_share(tmp_path) == 0.0


def test_a_directory_that_is_not_made_yet_is_on_the_disk_above_it(tmp_path):
    assert free_share(tmp_path / "not" / "yet") == pytest.approx(free_share(tmp_path), abs=0.01)
    assert free_share(tmp_path) > 0
