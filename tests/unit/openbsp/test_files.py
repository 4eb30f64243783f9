"""Files are replaced whole, or not at all."""

import os
import stat
from pathlib import Path

import pytest

from openbsp import files

OWN = (os.geteuid(), os.getegid())


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_new_file_has_the_rights_that_are_asked_for_whatever_the_umask_is(tmp_path: Path):
    former = os.umask(0o777)
    try:
        files.replace(tmp_path / "new", "text ü", mode=0o640, owner=OWN)
    finally:
        os.umask(former)
    assert (tmp_path / "new").read_bytes() == "text ü".encode()
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert names(tmp_path) == ["new"]


def test_a_link_in_its_place_is_replaced_and_not_written_through(tmp_path: Path):
    (tmp_path / "elsewhere").write_text("former")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    files.replace(tmp_path / "link", "new", mode=0o600, owner=OWN)
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere").read_text() == "former"


@pytest.mark.parametrize("step", ["fsync", "fchmod"])
def test_what_fails_leaves_the_former_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
):
    def fails(*_: object) -> None:
        raise OSError("No space left on device")

    (tmp_path / "file").write_text("former")
    monkeypatch.setattr(os, step, fails)
    with pytest.raises(OSError, match="No space left"):
        files.replace(tmp_path / "file", "new", mode=0o600, owner=OWN)
    assert (tmp_path / "file").read_text() == "former"
    assert names(tmp_path) == ["file"]
