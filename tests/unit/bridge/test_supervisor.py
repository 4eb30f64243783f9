"""Several workers: which end of one ends all, and which is followed by a replacement."""

import errno
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bridge import serve
from bridge.exits import WORKER_NOT_STARTED
from bridge.supervisor import Supervisor
from openbsp.commands import ExitCode
from openbsp.errors import TokensError


class Workers:
    """A supervisor of two workers that are started and ended by hand."""

    def __init__(self, directory: Path, listener: socket.socket) -> None:
        self.supervisor = Supervisor(print, None, 2, 10, listener)
        self._directory = str(directory)
        self.told_to_end: list[int] = []
        for number in range(2):
            self.start(number)

    def start(self, number: int) -> None:
        del self.supervisor._due[number]
        self.supervisor._workers[number] = SimpleNamespace(
            pid=number, exitcode=None, started=time.monotonic(), send=lambda _: self.told_to_end.append(number)
        )

    def end(self, number: int, code: int, *, lived_s: float = 0.0) -> float | None:
        """Return the seconds until the replacement, None if there will be none."""
        self.supervisor._workers[number].exitcode = code
        self.supervisor._workers[number].started -= lived_s
        before = time.monotonic()
        self.supervisor._reap(self._directory)
        due = self.supervisor._due.get(number)
        return None if due is None else due - before


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    with socket.socket() as listener:
        yield Workers(tmp_path, listener)


def test_a_worker_that_cannot_start_ends_all(workers: Workers):
    assert workers.end(0, WORKER_NOT_STARTED) is None
    assert workers.told_to_end == [1]
    assert workers.end(1, ExitCode.OK) is None
    assert workers.supervisor._code is ExitCode.NOT_STARTED


@pytest.mark.parametrize("code", [1, ExitCode.FAILED, ExitCode.OK, -signal.SIGKILL])
def test_a_worker_that_ends_in_another_way_is_replaced(workers: Workers, code: int):
    """1 is what an uncaught exception exits with."""
    assert workers.end(0, code) is not None
    assert workers.told_to_end == []


def test_a_worker_that_died_is_replaced_at_once_and_one_that_dies_again_soon_more_and_more_rarely(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
):
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pauses = [workers.end(0, -signal.SIGKILL)]
    for _ in range(10):
        workers.start(0)
        pauses.append(workers.end(0, WORKER_NOT_STARTED))
    assert pauses == pytest.approx([0, 0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30])
    workers.start(0)
    assert workers.end(0, 1, lived_s=10) == 0, "it had served for a while"
    assert workers.told_to_end == []
    assert workers.supervisor._code is ExitCode.OK


def test_when_all_are_told_to_end_nobody_is_replaced(workers: Workers):
    workers.supervisor._stop()
    assert workers.end(0, ExitCode.OK) is None
    assert workers.end(1, -signal.SIGTERM) is None
    assert workers.supervisor._code is ExitCode.OK


def test_a_worker_that_fails_while_all_end_is_told_to_the_operator(workers: Workers):
    workers.supervisor._stop()
    assert workers.end(0, 1) is None
    assert workers.supervisor._code is ExitCode.FAILED


def test_a_worker_that_cannot_be_forked_is_tried_again_and_ends_nothing(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
):
    assert workers.end(0, -signal.SIGKILL) == pytest.approx(0, abs=1)
    attempts = []

    def refuse(*_: object) -> None:
        attempts.append(1)
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr("bridge.supervisor.Forked", refuse)
    workers.supervisor._start_due()
    assert attempts == [1]
    assert workers.supervisor._workers.keys() == {1}
    assert workers.supervisor._due.keys() == {0}
    assert workers.told_to_end == []


def test_a_replacement_that_finds_unusable_tokens_says_so(monkeypatch: pytest.MonkeyPatch):
    """Rather than by the trace of a fault: the file may have been changed since the start."""

    def refuse(*_: object) -> None:
        raise TokensError(["tokens.txt: line 1 is not `name sha256 [organization ...]`"])

    said: list[str] = []
    monkeypatch.setattr(serve, "complain", lambda _, why: said.append(why))
    monkeypatch.setattr(serve._Work, "_open_spool", refuse)
    nothing: Any = None
    work = serve._Work(nothing, nothing, nothing, nothing, nothing, 0, nothing, is_upgrade=False)
    assert work.do(nothing, nothing) is ExitCode.NOT_STARTED
    assert said == ["tokens.txt: line 1 is not `name sha256 [organization ...]`"]
