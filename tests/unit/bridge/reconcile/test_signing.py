"""A report that was changed, or that another key signed, is not verified."""

import stat
import sys
from pathlib import Path

import pytest

from bridge import cli
from bridge.reconcile import signing
from bridge.reconcile.errors import ReconcileError
from bridge.reconcile.report import Report

REPORT = {"run": "1", "rows": [{"missing": 0, "compared": 2**70}], "well": True}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    signing.make_key(tmp_path / "key")
    return tmp_path / "key"


def test_what_was_signed_is_verified_with_the_public_key_that_was_printed(tmp_path: Path):
    public = signing.read_public(signing.make_key(tmp_path / "k"))
    audit = signing.decode(signing.sign(REPORT, signing.load_key(tmp_path / "k")).encode())
    assert audit.report == REPORT
    assert signing.fault(audit, [public]) is None


def test_a_report_of_a_run_survives_the_way_through_json(key: Path):
    report = Report("run", "openbsp.test", "1", dry_run=False, began_at=1)
    report.of("messages", "acme").missing = 3
    report.every_s = 300
    report.sample("missing", "messages", "acme", "m\u00e9\u2028", ["a"])
    private = signing.load_key(key)
    audit = signing.decode(signing.sign(report.content(), private).encode())
    assert signing.fault(audit, [private.public_key()]) is None


def test_a_change_of_any_kind_is_noticed(key: Path):
    private = signing.load_key(key)
    text = signing.sign(REPORT, private).encode()
    for old, new in ((b'"missing":0', b'"missing":1'), (b"true", b"null"), (b'"run":"1"', b'"run":"2"')):
        assert old in text
        changed = signing.decode(text.replace(old, new))
        assert "changed" in (signing.fault(changed, [private.public_key()]) or "")


def test_another_key_does_not_count(key: Path, tmp_path: Path):
    other = signing.read_public(signing.make_key(tmp_path / "other"))
    audit = signing.sign(REPORT, signing.load_key(key))
    assert "not among those given" in (signing.fault(audit, [other]) or "")
    # Even if it says that it is the one.
    forged = signing.Audit(audit.report, signing.key_id(other), audit.signature)
    assert "does not match" in (signing.fault(forged, [other]) or "")


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"report": 1, "key": "", "signature": ""}', b"\xff"])
def test_what_is_no_audit_is_refused(text: bytes):
    with pytest.raises(ReconcileError, match="not an audit"):
        signing.decode(text)


def test_the_private_key_is_its_owners_alone(key: Path):
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        signing.make_key(key)
    key.chmod(0o640)
    with pytest.raises(ReconcileError, match="chmod 600"):
        signing.load_key(key)


def test_a_key_that_somebody_else_owns_may_be_read_by_the_group_and_by_nobody_else(key: Path, monkeypatch):
    """As Kubernetes mounts a secret: the owner is root, and the pod's group may read."""
    monkeypatch.setattr("os.geteuid", lambda: key.stat().st_uid + 1)
    key.chmod(0o440)
    assert signing.load_key(key)
    for mode in (0o444, 0o460, 0o640 | 0o001):
        key.chmod(mode)
        with pytest.raises(ReconcileError, match="chmod 600"):
            signing.load_key(key)


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_named(tmp_path: Path, content: bytes):
    file = tmp_path / "k"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(ReconcileError, match="bridge audit key"):
        signing.load_key(file)
    with pytest.raises(ReconcileError, match="bridge audit key"):
        signing.load_key(tmp_path / "nowhere")


def test_files_of_audits_are_verified_on_the_command_line(key: Path, tmp_path: Path, monkeypatch, capsys):
    audit = signing.sign(REPORT, signing.load_key(key)).encode()
    file = tmp_path / "audits"

    def verify(content: bytes, *arguments: str) -> tuple[int, str]:
        file.write_bytes(content)
        monkeypatch.setattr(sys, "argv", ["bridge", "audit", "verify", str(file), *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        written = capsys.readouterr()
        return ended.value.code or 0, written.out + written.err

    assert verify(audit)[0] == 1
    monkeypatch.setenv("RECONCILE_SIGNING_KEY_FILE", str(key))
    assert verify(audit + b"\n" + audit) == (0, "2 of 2 audits are signed and unchanged\n")
    code, out = verify(audit + b"\n" + audit.replace(b"true", b"false"))
    assert code == 1
    assert "1 of 2 audits" in out
    # No evidence is none of completeness.
    assert verify(b"\n") == (1, "0 of 0 audits are signed and unchanged\n")
    code, out = verify(audit + b"\n\x1b[2Jno audit\n" + audit)
    assert code == 1
    assert f"{file}:2: this is not an audit" in out
    assert "2 of 3 audits" in out


def test_a_record_that_is_no_audit_does_not_hide_the_others(key: Path, monkeypatch, capsys):
    audit = signing.sign(REPORT, signing.load_key(key))
    escapes = signing.sign({"run": "\x1b[2J", "platform": "\x1b[2J"}, signing.load_key(key))
    told = [("audits:0:0", b"not JSON"), ("audits:0:1", audit.encode()), ("audits:0:2", escapes.encode())]
    monkeypatch.setattr("bridge.reconcile.audit_topic.read", lambda *_: iter(told))
    monkeypatch.setattr(sys, "argv", ["bridge", "audit", "show"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    written = capsys.readouterr()
    assert not ended.value.code
    assert "audits:0:0: this is not an audit" in written.err
    assert written.out.count("signed with") == 2
    assert "\x1b" not in written.out
