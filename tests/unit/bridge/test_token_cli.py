"""`bridge token`: made, listed without secrets, revoked where they are."""

import sys
from pathlib import Path

import pytest

from bridge import cli
from openbsp.http.tokens.token_set import TokenSet, new_token, parse_file

SECRET = "a-secret-that-nobody-may-see"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `bridge token` with arguments; return the exit code, standard output and standard error."""
    for name in ("BRIDGE_TOKENS", "BRIDGE_TOKENS_FILE", "STREAMS_TOKENS", "STREAMS_TOKENS_FILE"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["bridge", "token", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return ended.value.code or 0, output.out, output.err

    return call


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text("\n".join([new_token("first")[1], new_token("second", ["o2", "o1"])[1], ""]))
    return path


@pytest.mark.parametrize("form", [["new"], []])
def test_a_new_one_is_printed_once_with_the_line_that_admits_it(run, form):
    status, out, _ = run(*form, "openbsp", "--organization", "o1")
    printed = dict(line.split(None, 1) for line in out.splitlines())
    (token,) = parse_file(printed["line"])
    assert status == 0
    assert (token.name, token.organizations) == ("openbsp", {"o1"})
    assert TokenSet([token]).authenticate(f"Bearer {printed['token']}".encode()) is token


def test_names_and_organizations_are_listed_and_no_secret(run, monkeypatch, file):
    monkeypatch.setenv("BRIDGE_TOKENS_FILE", str(file))
    monkeypatch.setenv("STREAMS_TOKENS_FILE", str(file))
    monkeypatch.setenv("STREAMS_TOKENS", f"page={SECRET}@o1")
    status, out, err = run("list")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"{file}: 2 tokens",
        "  first  all organizations",
        "  second  o1 o2",
        "STREAMS_TOKENS: 1 token",
        "  page  o1",
    ]


def test_a_file_that_cannot_be_read_is_said_and_the_others_are_listed(run, monkeypatch, file, tmp_path):
    monkeypatch.setenv("BRIDGE_TOKENS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("STREAMS_TOKENS_FILE", str(file))
    status, out, err = run("list")
    assert status == 1
    assert "  first  all organizations" in out
    assert f"{tmp_path / 'none'}: No such file or directory" in err


def test_a_revoked_one_is_gone_from_each_file(run, monkeypatch, file, tmp_path):
    other = tmp_path / "other"
    other.write_text(file.read_text())
    monkeypatch.setenv("BRIDGE_TOKENS_FILE", str(file))
    monkeypatch.setenv("STREAMS_TOKENS_FILE", str(other))
    status, out, _ = run("revoke", "first")
    assert (status, out) == (0, f"{file}: first is revoked\n{other}: first is revoked\n")
    for path in (file, other):
        assert [token.name for token in parse_file(path.read_text())] == ["second"]


def test_with_an_inline_token_the_file_may_lose_its_last_one(run, monkeypatch, file):
    monkeypatch.setenv("BRIDGE_TOKENS_FILE", str(file))
    assert run("revoke", "first")[0] == 0
    status, _, err = run("revoke", "second")
    assert (status, "second is the only token" in err) == (1, True)
    monkeypatch.setenv("BRIDGE_TOKENS", f"inline={SECRET}")
    assert run("revoke", "second")[0] == 0
    status, _, err = run("revoke", "inline")
    assert status == 1
    assert "BRIDGE_TOKENS: remove it there" in err
    assert SECRET not in err


def test_what_is_nowhere_is_said(run, file):
    status, out, err = run("revoke", "third", "--file", file)
    assert (status, out) == (1, "")
    assert "there is no token third" in err
    for command in (["list"], ["revoke", "first"]):
        status, out, err = run(*command, "--file", file.with_name("missing"))
        assert (status, out, err) == (1, "", f"bridge: {file.with_name('missing')}: No such file or directory\n")
    assert run("revoke", "first")[0] == 2, "no file is known"
    assert run("list")[0] == 2
