"""Locks on files: one holder, whose process id the next one is told, and nothing is left when the holder is gone."""

import fcntl
import os
from pathlib import Path

import pytest

from openbsp.locks import LockHeldError, lock_file


def test_a_second_one_is_refused_and_told_who_holds_it(tmp_path: Path):
    held = lock_file(tmp_path / "lock")
    with pytest.raises(LockHeldError) as refused:
        lock_file(tmp_path / "lock")
    assert refused.value.holder == str(os.getpid())
    os.close(held)
    os.close(lock_file(tmp_path / "lock"))


def test_closing_another_descriptor_of_the_file_does_not_release_it(tmp_path: Path):
    held = lock_file(tmp_path / "lock")
    (tmp_path / "lock").read_bytes()
    with pytest.raises(LockHeldError):
        lock_file(tmp_path / "lock")
    os.close(held)


def test_a_file_is_for_its_user_alone(tmp_path: Path):
    os.close(lock_file(tmp_path / "lock"))
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_a_file_that_its_holder_removes_meanwhile_is_not_taken_for_the_one_at_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two that lock files of one name, one of them without it, would both go on."""
    path = tmp_path / "lock"
    lock = fcntl.flock

    def remove_before(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        path.unlink()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", remove_before)
    held = lock_file(path)
    with pytest.raises(LockHeldError):
        lock_file(path)
    os.close(held)
