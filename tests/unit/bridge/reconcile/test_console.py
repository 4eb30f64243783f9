"""The bars of a run, which a terminal shows and nothing else does."""

import io
import sys

import pytest

from bridge.reconcile.console import Console


class Terminal(io.StringIO):
    """A standard error that is one."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal. Trap: pytest takes back what a fixture makes of it."""
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return made


def run(console: Console) -> None:
    """Report what a run does, of which the last of each kind is what stays."""
    console.reading(250, 1000)
    console.reading(1000, 1000)
    console.comparing("messages", 100, 100, 300, 5)
    console.comparing("messages", 100, 150, 300, 12345)
    console.asking("messages", 50)


def test_a_terminal_shows_how_far_a_run_is(monkeypatch: pytest.MonkeyPatch):
    """Unless nobody knows how far it is, as of the ids that are asked for."""
    screen = terminal(monkeypatch)
    with Console(differences=False) as console:
        run(console)
        bars = {task.description: (task.percentage, task.total) for task in console._progress.tasks}
    assert bars == {"states": (100, 1000), "messages": (25, 200), "gone from messages": (0, None)}
    shown = screen.getvalue()
    assert "1,000 records" in shown
    assert "12,345 rows" in shown
    assert "50 ids" in shown


def test_nothing_to_do_is_no_fault(monkeypatch: pytest.MonkeyPatch):
    """Topics without a record, and a span without a moment."""
    screen = terminal(monkeypatch)
    with Console(differences=False) as console:
        console.reading(0, 0)
        console.comparing("messages", 100, 100, 100, 0)
    assert "0 records" in screen.getvalue()


def test_a_file_gets_no_bars(capsys: pytest.CaptureFixture[str]):
    """Only the differences, if they are asked for."""
    for differences in (True, False):
        with Console(differences=differences) as console:
            run(console)
            console.found("missing    messages 1 of acme")
    assert capsys.readouterr() == ("missing    messages 1 of acme\n", "")
