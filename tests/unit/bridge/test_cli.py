"""The command line: clear messages, the right exit code, never a stack trace."""

import sys

import pytest

from bridge import cli
from openbsp.http.tokens.token_set import TokenSet, parse_file


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `bridge` with arguments; return the exit code, standard output and standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["bridge", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return ended.value.code or 0, output.out, output.err

    return call


def test_without_a_command_the_help_is_shown(run):
    _, out, err = run()
    for command in ("up", "demo", "serve", "send", "settings", "topics", "schemas"):
        assert f"\n  {command} " in out + err


def test_the_version_is_that_of_the_distribution(run):
    status, out, _ = run("--version")
    assert (status, out) == (0, "bridge 0.1.0\n")


@pytest.mark.parametrize("command", [["serve"], ["topics", "check"], ["topics", "apply"], ["schemas", "register"]])
def test_all_faults_of_the_settings_are_reported_at_once_with_exit_code_2(run, monkeypatch, command):
    monkeypatch.setenv("BRIDGE_TOKENS", "name=a-token-that-is-long-enough")
    monkeypatch.setenv("TOPIC_PARTITIONS", "0")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "TELEPATHY")
    monkeypatch.setenv("SCHEMA_REGISTRY_TIMEOUT_S", "-1")
    status, out, err = run(*command)
    assert (status, out) == (2, "")
    assert "TOPIC_PARTITIONS" in err
    assert ("KAFKA_SECURITY_PROTOCOL" in err) == (command[0] != "schemas")
    assert ("SCHEMA_REGISTRY_TIMEOUT_S" in err) == (command[0] != "topics")
    assert "Traceback" not in err
    assert "TELEPATHY" not in err, "values are never shown: they may be secrets"


def test_a_registry_that_does_not_answer_is_named_with_exit_code_1(run, monkeypatch, unused_port):
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", f"http://127.0.0.1:{unused_port}")
    status, out, err = run("schemas", "check")
    assert (status, out) == (1, "")
    assert f"http://127.0.0.1:{unused_port}" in err
    assert "Traceback" not in err


def test_ports_that_do_not_exist_are_a_wrong_call(run):
    status, _, err = run("up", "--ports", "65533")
    assert status == 2
    assert "--ports" in err


def test_every_setting_of_the_bridge_is_listed(run):
    status, out, _ = run("settings")
    assert status == 0
    for variable in ("BRIDGE_PORT", "KAFKA_BOOTSTRAP_SERVERS", "SCHEMA_REGISTRY_URL", "TOPIC_PREFIX"):
        assert f"\n{variable} (" in f"\n{out}"


def test_a_new_token_is_printed_once_with_the_line_that_admits_it(run):
    status, out, _ = run("token", "openbsp", "--organization", "org-1", "--organization", "org-2")
    assert status == 0
    printed = dict(line.split(None, 1) for line in out.splitlines())
    (token,) = parse_file(printed["line"])
    assert TokenSet([token]).authenticate(f"Bearer {printed['token']}".encode()) is token
    assert (token.name, token.organizations) == ("openbsp", {"org-1", "org-2"})
    assert printed["token"] not in printed["line"]


@pytest.mark.parametrize("arguments", [["a name"], ["name", "--organization", "a b"], ["name", "--organization", "#"]])
def test_a_token_that_no_line_can_hold_is_not_made(run, arguments):
    status, out, err = run("token", *arguments)
    assert (status, out) == (2, "")
    assert "letters" in err or "white space" in err


@pytest.mark.parametrize("command", ["list", "redrive"])
def test_a_mistyped_reason_of_dead_letters_is_a_wrong_call_and_not_an_empty_list(run, command):
    status, out, err = run("dead-letters", command, "--reason", "broker_refusd")
    assert (status, out) == (2, "")
    assert "broker_refused" in err


def test_a_redrive_can_be_told_that_it_is_a_plan(run):
    """Nothing is asked for: the call is wrong, by its last option alone."""
    status, _, err = run("dead-letters", "redrive", "--dry-run", "--reason", "streams: too_large", "--until", "x")
    assert status == 2
    assert "'x'" in err
    assert "--dry-run" not in err


@pytest.mark.parametrize("url", ["http://[::1", "localhost:8080", "bridge"])
@pytest.mark.parametrize("option", ["--bridge", "--streams"])
def test_what_is_no_address_is_a_wrong_call(run, option, url):
    status, out, err = run("top", "--once", option, url)
    assert (status, out) == (2, "")
    assert "no such address" in err
