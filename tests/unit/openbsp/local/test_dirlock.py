"""Directory locks: one holder at a time, and children count."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openbsp.local.dirlock import DirectoryLock
from openbsp.local.errors import DataDirectoryInUseError


def test_a_second_holder_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    first, second = DirectoryLock(tmp_path), DirectoryLock(tmp_path)
    first.acquire(0)
    with pytest.raises(DataDirectoryInUseError, match=rf"in use by another process \(process {os.getpid()}\)"):
        second.acquire(0)
    first.release()
    second.acquire(0)
    second.release()


def test_a_child_that_inherited_the_lock_holds_it(tmp_path: Path) -> None:
    lock, other = DirectoryLock(tmp_path), DirectoryLock(tmp_path)
    lock.acquire(0)
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[lock.fileno()]
    ) as child:
        lock.release()
        with pytest.raises(DataDirectoryInUseError):
            other.acquire(0)
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
        other.acquire(0)
        other.release()


def test_the_directory_is_made(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "a" / "b")
    lock.acquire(0)
    lock.release()
    assert (tmp_path / "a" / "b").is_dir()


def test_a_lock_that_is_not_held_has_no_descriptor(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not held"):
        DirectoryLock(tmp_path).fileno()
