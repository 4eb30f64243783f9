"""A token is revoked by one replacement of its file, after which the services can read it."""

import os
import threading
from pathlib import Path

import pytest

from openbsp.errors import TokensError
from openbsp.http.tokens import file as token_file
from openbsp.http.tokens.file import read, revoke
from openbsp.http.tokens.token_set import new_token, parse_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    lines = [
        "# ours",
        new_token("first")[1] + "  # of Ana",
        "",
        new_token("second", ["o1"])[1],
        "#first is not a token",
    ]
    path.write_bytes("\r\n".join(lines).encode() + b"\r\n")
    path.chmod(0o640)
    return path


def test_only_the_line_of_the_token_goes(file):
    before = file.read_bytes().splitlines(keepends=True)
    inode = file.stat().st_ino
    assert revoke(file, "first")
    assert file.read_bytes().splitlines(keepends=True) == [before[0], *before[2:]]
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.stat().st_ino != inode, "a reader sees the former file whole, or the new one"
    assert [token.name for token in read(file)] == ["second"]
    assert os.listdir(file.parent) == ["tokens"]  # noqa: PTH208 hidden files too


def test_a_last_line_that_did_not_end_does_afterwards(file):
    """Else services that have read one that did would take it for cut off, and keep the revoked token."""
    file.write_bytes(file.read_bytes().removesuffix(b"\r\n"))
    assert revoke(file, "first")
    assert file.read_bytes().endswith(b"#first is not a token\n")


def test_one_that_is_not_there_changes_nothing(file):
    before = file.stat()
    assert not revoke(file, "third")
    assert not revoke(file, "#")
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_a_link_leads_to_is_changed_and_the_link_stays(file, tmp_path):
    link = tmp_path / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to(file)
    assert revoke(link, "first")
    assert link.is_symlink()
    assert [token.name for token in read(file)] == ["second"]


def test_a_file_that_services_could_not_read_is_not_written(file):
    file.write_text(file.read_text() + "broken line\n")
    before = file.read_bytes()
    with pytest.raises(TokensError, match="line 6 is not"):
        revoke(file, "first")
    assert file.read_bytes() == before


def test_the_only_token_stays_because_services_would_keep_it(file):
    assert revoke(file, "first")
    with pytest.raises(TokensError, match="is the only token"):
        revoke(file, "second")
    assert len(parse_file(file.read_text())) == 1
    assert revoke(file, "second", others=1)
    assert read(file) == []


def test_a_disk_that_is_full_leaves_the_file_as_it_was(file, monkeypatch):
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        revoke(file, "first")
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == ["tokens"]  # noqa: PTH208 as above


def test_two_revocations_at_once_are_both_done(file, monkeypatch):
    """The one that writes last must not bring back the token that the other has removed."""
    file.write_text("\n".join(new_token(name)[1] for name in ("first", "second", "third")))
    replace = token_file._replace
    other = threading.Thread(target=revoke, args=(file, "second"))

    def replace_late(path, text):
        if other.ident is None:
            other.start()
            # It comes to its end if nothing holds it back.
            other.join(timeout=0.5)
        replace(path, text)

    monkeypatch.setattr(token_file, "_replace", replace_late)
    assert revoke(file, "first")
    other.join()
    assert [token.name for token in read(file)] == ["third"]
