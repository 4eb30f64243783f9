"""`bridge reconcile` as it is called: what is refused, what it prints, and what becomes of its index's faults."""

import sqlite3
import sys
from pathlib import Path
from typing import Any, Self

import pytest

from bridge import cli
from bridge.reconcile import command, signing
from bridge.reconcile.console import Console
from bridge.reconcile.errors import ReconcileError
from bridge.reconcile.index import Index
from bridge.reconcile.report import Report
from bridge.reconcile.run import Options
from bridge.reconcile.settings import ReconcileSettings
from bridge.sender.settings import OpenBspSettings
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings


def test_a_time_to_come_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "argv", ["bridge", "reconcile", "--since", "2999-01-01T00:00Z"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "--since is in the future" in capsys.readouterr().err


def test_ids_of_somebody_else_move_no_cursor(capsys: pytest.CaptureFixture[str]):
    with Console(differences=True) as console:
        console.found("gone       messages \x1b[2J of acme")
    assert capsys.readouterr().out == "gone       messages \\u001b[2J of acme\n"


def environment(directory: Path, **settings: Any) -> command.Environment:
    return command.Environment(
        ReconcileSettings(dir=directory, **settings),
        OpenBspSettings(url="http://127.0.0.1:9"),
        KafkaSettings(),
        RegistrySettings(),
        TopicSettings(),
    )


def test_a_report_that_cannot_be_kept_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def refuse(*_: object) -> None:
        raise ReconcileError("audits: the audit is not kept")

    signing.make_key(tmp_path / "key")
    monkeypatch.setattr(command, "once", lambda *_: Report("the-run", "openbsp.test", "1", dry_run=False, began_at=0))
    monkeypatch.setattr(command, "keep", refuse)
    request = command.Request((), None, dry_run=False, deletes=True, allow_deletes=False, as_json=False)
    with pytest.raises(ReconcileError, match="not kept"):
        command.reconcile(request, environment(tmp_path, signing_key_file=tmp_path / "key"))
    assert "run the-run against openbsp.test" in capsys.readouterr().out


def test_a_report_says_how_often_such_runs_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    signing.make_key(tmp_path / "key")
    kept: list[Any] = []
    monkeypatch.setattr(command, "once", lambda *_: Report("the-run", "openbsp.test", "1", dry_run=False, began_at=0))
    monkeypatch.setattr(command, "keep", lambda audit, *_: kept.append(audit))
    monkeypatch.setattr(command, "run_every", lambda _, __, run: run())
    request = command.Request((), None, dry_run=False, deletes=True, allow_deletes=False, as_json=False)
    command.reconcile(request, environment(tmp_path, signing_key_file=tmp_path / "key"), 300)
    (audit,) = kept
    assert audit.report["every_seconds"] == 300


@pytest.mark.parametrize("at", ["its start", "its rows"])
def test_a_fault_of_the_index_ends_the_run_and_not_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
):
    def full(here: str) -> None:
        """As of a disk without room."""
        if here == at:
            raise sqlite3.OperationalError("database or disk is full")

    class Run:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def run(self) -> None:
            full("its rows")

    class NoStates:
        def __init__(self, *_: Any) -> None: ...

        def __enter__(self) -> Self:
            full("its start")
            return self

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(command, "Run", Run)
    monkeypatch.setattr(command, "States", NoStates)
    with (
        Console(differences=False) as console,
        Index(tmp_path) as index,
        pytest.raises(ReconcileError, match="disk is full"),
    ):
        command.once(Options(dry_run=True), environment(tmp_path), index, console)
