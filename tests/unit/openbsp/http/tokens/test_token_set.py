"""Tokens: how they are written, what they admit, and how they change while the bridge runs."""

import hashlib
import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from bridge.settings import BridgeSettings
from openbsp.errors import TokensError
from openbsp.http.tokens.source import TokenSource
from openbsp.http.tokens.token_set import TokenSet, new_token, parse_file, parse_inline
from support.ingress import TOKEN, message, running_ingress
from support.wait import eventually

LONG = "a-long-enough-token"
OTHER = "another-long-token.~+/=="


def admitted(tokens: TokenSet, secret: str) -> str | None:
    token = tokens.authenticate(b"Bearer " + secret.encode())
    return None if token is None else token.name


def test_inline_tokens_have_names_and_may_be_bound():
    tokens = TokenSet(parse_inline(f"one={LONG}, two={OTHER}@org1|org2\n three=x{LONG}"))
    assert len(tokens) == 3
    assert admitted(tokens, LONG) == "one"
    assert admitted(tokens, OTHER) == "two"
    assert tokens.authenticate(b"Bearer " + OTHER.encode()).organizations == {"org1", "org2"}
    assert tokens.authenticate(b"Bearer " + LONG.encode()).organizations is None
    assert admitted(tokens, LONG[:-1]) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "token 1"),
        (LONG, "token 1"),
        (f"a b={LONG}", "token 1"),
        (f"na/me={LONG}", "token 1"),
        ("name=short", "token name needs 16"),
        ("name=ümlaut-is-not-allowed", "token name needs 16"),
        (f"name={LONG}@", "bound to no organization"),
        (f"name={LONG}@|", "bound to no organization"),
    ],
)
def test_an_unusable_inline_token_is_named_and_never_quoted(text: str, fault: str):
    with pytest.raises(TokensError, match=fault) as raised:
        parse_inline(text)
    assert LONG not in str(raised.value)


def test_all_faults_are_told_at_once():
    with pytest.raises(TokensError) as raised:
        parse_inline("one=short two=short")
    assert len(raised.value.faults) == 2


def test_names_are_used_once():
    with pytest.raises(TokensError, match="token name one is used 2 times"):
        TokenSet(parse_inline(f"one={LONG} one={OTHER}"))


def test_a_file_holds_hashes():
    digest = hashlib.sha256(LONG.encode()).hexdigest()
    other = hashlib.sha256(OTHER.encode()).hexdigest()
    tokens = TokenSet(parse_file(f"# who may send\n\none {digest}\n two  {other} org1 org2 # bound\n"))
    assert admitted(tokens, LONG) == "one"
    assert tokens.authenticate(b"Bearer " + OTHER.encode()).organizations == {"org1", "org2"}


@pytest.mark.parametrize(
    "line",
    [
        "one",
        f"one {LONG}",
        "one " + "0" * 63,
        "one " + "G" * 64,
        "na=me " + "0" * 64,
        # What is appended to a last line that does not end.
        "one " + "0" * 64 + " org1two " + "1" * 64,
        "one " + "0" * 64 + " org1two " + "1" * 64 + " org2",
    ],
)
def test_a_line_that_is_no_token_is_named_by_its_number(line: str):
    with pytest.raises(TokensError, match="line 2"):
        parse_file(f"# comment\n{line}")


def test_a_new_token_is_admitted_by_its_line():
    secret, line = new_token("sender", ["org1"])
    tokens = TokenSet(parse_file(line))
    assert admitted(tokens, secret) == "sender"
    assert secret not in line
    with pytest.raises(TokensError):
        new_token("not a name")
    with pytest.raises(TokensError):
        new_token("sender", ["0" * 64])


def test_a_token_is_compared_in_full_with_each():
    """A wrong token costs as much as a right one: no early end tells how far a guess got."""
    tokens = TokenSet(parse_inline(" ".join(f"t{number}={LONG}{number:04}" for number in range(50))))
    assert admitted(tokens, f"{LONG}0000") == "t0"
    assert admitted(tokens, f"{LONG}0049") == "t49"
    assert admitted(tokens, f"{LONG}0050") is None


def test_a_changed_file_is_used_without_a_restart(tmp_path: Path):
    file = tmp_path / "tokens"
    first, line = new_token("first")
    file.write_text(line)
    with running_ingress(tmp_path, tokens=None, tokens_file=file) as ingress:
        assert ingress.post(message(), token=first).status_code == 202
        second, line = new_token("second")
        replacement = tmp_path / "tokens.new"
        replacement.write_text(line)
        replacement.replace(file)
        eventually(lambda: ingress.post(message(), token=second).status_code == 202)
        assert ingress.post(message(), token=first).status_code == 401


def test_a_file_is_read_when_it_has_come_to_rest(tmp_path: Path):
    """Half of it would be a usable file, that lacks tokens."""
    file = tmp_path / "tokens"
    lines = [new_token(name)[1] for name in ("first", "second", "third")]
    file.write_text("\n".join(lines))
    source = TokenSource(BridgeSettings(tokens_file=file))
    assert (len(source.current), source.settled()) == (3, False)
    with file.open("w") as writing:
        writing.write(lines[0])
        writing.flush()
        assert not source.settled()
        writing.write("\n".join(["", *lines[1:], new_token("fourth")[1]]))
    assert not source.settled()
    assert source.settled()
    source.reload()
    assert (len(source.current), source.settled()) == (4, False)


def test_a_last_line_that_was_cut_off_is_not_used(tmp_path: Path):
    """A full disk may cut it behind the hash, and it would admit the token for all organizations."""
    file = tmp_path / "tokens"
    lines = [new_token(name, ["org1"])[1] + "\n" for name in ("first", "second")]
    file.write_text(lines[0])
    source = TokenSource(BridgeSettings(tokens_file=file))
    former = source.current
    for cut in (" org1\n", "\n"):
        file.write_text("".join(lines).removesuffix(cut))
        with pytest.raises(TokensError, match="lacks its line feed"):
            source.reload()
        assert (source.current, source.fault is None) == (former, False)
    file.write_text("".join(lines))
    source.reload()
    assert (len(source.current), source.fault) == (2, None)
    file.write_text(lines[0].removesuffix("\n"))
    source.reload()
    assert len(source.current) == 1, "a token that is known was not cut off"


def test_a_file_that_never_ended_its_last_line_may_change(tmp_path: Path):
    """As that of a Secret. An empty one says nothing of how the next one ends."""
    file = tmp_path / "tokens"
    file.touch()
    source = TokenSource(BridgeSettings(tokens=SecretStr(f"inline={LONG}"), tokens_file=file))
    for text in (new_token("first")[1], new_token("second")[1], new_token("third")[1] + "\n", ""):
        file.write_text(text)
        source.reload()
        assert len(source.current) == 1 + bool(text)


def test_a_file_that_changes_while_it_is_read_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "tokens"
    file.write_text(new_token("first")[1])
    settings = BridgeSettings(tokens_file=file)
    source = TokenSource(settings)
    former = source.current
    read = BridgeSettings.token_set

    def read_half(self: BridgeSettings) -> TokenSet:
        tokens = read(self)
        file.write_text("\n".join(new_token(name)[1] for name in ("first", "second")))
        return tokens

    monkeypatch.setattr(BridgeSettings, "token_set", read_half)
    with pytest.raises(TokensError, match="written while it was read"):
        source.reload()
    assert source.current is former
    monkeypatch.setattr(BridgeSettings, "token_set", read)
    assert (source.settled(), source.settled()) == (False, True)


def test_a_file_that_became_unusable_changes_nothing_but_is_told(tmp_path: Path):
    file = tmp_path / "tokens"
    token, line = new_token("first")
    file.write_text(line)
    with running_ingress(tmp_path, tokens=None, tokens_file=file) as ingress:
        file.write_text("not a token")
        eventually(lambda: ingress.metric("bridge_token_reload_failures_total") == 1)
        assert ingress.post(message(), token=token).status_code == 202
        file.unlink()
        eventually(lambda: ingress.metric("bridge_token_reload_failures_total") == 2)
        assert ingress.post(message(), token=token).status_code == 202


def test_tokens_of_file_and_environment_count_together(tmp_path: Path):
    file = tmp_path / "tokens"
    secret, line = new_token("filed")
    file.write_text(line)
    with running_ingress(tmp_path, tokens_file=file) as ingress:
        assert ingress.post(message(), token=secret).status_code == 202
        assert ingress.post(message(), token=TOKEN).status_code == 202
        assert ingress.metric("bridge_tokens") == 3


def test_reloading_reads_the_file_again_even_if_it_looks_unchanged(tmp_path: Path):
    file = tmp_path / "tokens"
    _, line = new_token("first")
    file.write_text(line)
    status = file.stat()
    with running_ingress(tmp_path, tokens=None, tokens_file=file) as ingress:
        second, line = new_token("first")
        with file.open("r+") as stream:
            stream.write(line)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        ingress.on_loop(ingress.service.access.reload)
        eventually(lambda: ingress.post(message(), token=second).status_code == 202)
