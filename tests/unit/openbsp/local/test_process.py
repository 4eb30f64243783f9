"""Child processes: their parent's end is theirs, nobody can block them, and their output is kept."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from openbsp.local.process import ChildProcess

PARENT = """
import sys
from pathlib import Path
from openbsp.local.process import ChildProcess
child = ChildProcess("child", [sys.executable, "-c", {code!r}], log=Path({log!r}))
print(child.pid, flush=True)
sys.stdin.read()
"""

Start = Callable[..., ChildProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    children: list[ChildProcess] = []

    def start(code: str, **options: object) -> ChildProcess:
        child = ChildProcess("child", [sys.executable, "-c", code], log=tmp_path / "child.log", **options)
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether the process has ended; a zombie that nobody has waited for has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def members(group: int) -> list[int]:
    """Return the processes of a group that have not ended."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and not is_gone(process.pid):
                found.append(process.pid)
        except ProcessLookupError:
            continue
    return found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None], ids=["kill -9", "SIGTERM", "ends by itself"])
def test_a_child_does_not_outlive_its_parent(how: signal.Signals | None, tmp_path: Path) -> None:
    code = PARENT.format(code="import time; time.sleep(60)", log=str(tmp_path / "log"))
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not is_gone(pid)
        if how is not None:
            parent.send_signal(how)
    wait_until(lambda: members(pid) == [])


def test_a_stopped_child_does_not_outlive_its_parent_either(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = PARENT.format(code="import time; print('ready', flush=True); time.sleep(60)", log=str(log))
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(lambda: log.read_text() == "ready\n")
        os.kill(pid, signal.SIGSTOP)
        parent.kill()
    wait_until(lambda: members(pid) == [])


def test_the_pid_is_that_of_the_program_in_a_session_of_its_own(start: Start, tmp_path: Path) -> None:
    child = start("import os; print(os.getpid(), os.getsid(0), os.getpgrp())")
    assert child.wait(10) == 0
    assert (tmp_path / "child.log").read_text() == f"{child.pid} {child.pid} {child.pid}\n"


def test_stop_is_a_sigterm_that_the_child_can_answer(start: Start, tmp_path: Path) -> None:
    child = start(
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        "print('ready', flush=True)\n"
        "signal.pause()"
    )
    wait_until(lambda: (tmp_path / "child.log").read_text() == "ready\n")
    child.stop(10)
    assert child.returncode == 3


def test_stop_kills_a_child_that_does_not_listen(start: Start, tmp_path: Path) -> None:
    child = start(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    wait_until(lambda: (tmp_path / "child.log").read_text() == "ready\n")
    child.stop(0.1)
    assert child.returncode == -signal.SIGKILL


def test_stop_reaches_a_suspended_child(start: Start) -> None:
    child = start("import time; print('up', flush=True); time.sleep(60)")
    # Before that it is a shell, which ignores the signal.
    wait_until(lambda: "up" in child.log_tail())
    child.send_signal(signal.SIGSTOP)
    child.stop(10)
    assert child.returncode == -signal.SIGTERM


def test_nothing_of_the_group_is_left_after_kill(start: Start, tmp_path: Path) -> None:
    child = start(
        "import subprocess, time\nsubprocess.Popen(['sleep', '60'])\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    wait_until(lambda: (tmp_path / "child.log").read_text() == "ready\n")
    child.kill()
    wait_until(lambda: members(child.pid) == [])


def test_nothing_of_the_group_is_left_when_somebody_else_killed_the_child(start: Start, tmp_path: Path) -> None:
    child = start(
        "import subprocess, time\nsubprocess.Popen(['sleep', '60'])\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    wait_until(lambda: (tmp_path / "child.log").read_text() == "ready\n")
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL
    wait_until(lambda: members(child.pid) == [])


def test_every_line_of_both_streams_goes_to_the_callback_in_order(start: Start) -> None:
    lines: list[tuple[str, str]] = []
    child = start(
        "import sys\n"
        "for i in range(1000): print(i, file=(sys.stdout, sys.stderr)[i % 2], flush=True)\n"
        "print('end', end='')",
        on_log=lambda name, line: lines.append((name, line)),
    )
    child.wait(10)
    child.kill()
    assert lines == [("child", str(i)) for i in range(1000)] + [("child", "end")]


def test_a_callback_that_hangs_does_not_hold_up_the_child(start: Start) -> None:
    release = threading.Event()
    child = start(
        "print('x' * 100 + '\\n', end='' * 10000)\nprint('y' * 1_000_000)", on_log=lambda *_: release.wait(30)
    )
    try:
        assert child.wait(10) == 0
    finally:
        release.set()


def test_the_log_of_the_run_before_is_kept(start: Start, tmp_path: Path) -> None:
    start("print('first')").wait(10)
    start("print('second')").wait(10)
    assert (tmp_path / "child.log").read_text() == "second\n"
    assert (tmp_path / "child.log.1").read_text() == "first\n"


def test_only_this_user_may_read_a_log(start: Start, tmp_path: Path) -> None:
    start("print('personal')").wait(10)
    assert stat.S_IMODE((tmp_path / "child.log").stat().st_mode) == 0o600


def test_the_tail_of_the_log_is_its_last_lines(start: Start) -> None:
    child = start("for i in range(100): print(i)")
    child.wait(10)
    assert child.log_tail(3) == "97\n98\n99"


def test_a_wait_with_a_deadline_ends(start: Start) -> None:
    child = start("import time; time.sleep(60)")
    with pytest.raises(TimeoutError, match="child still runs"):
        child.wait(0.05)
    assert child.returncode is None


def test_a_program_that_does_not_exist_is_an_exit_status_and_a_log_line(tmp_path: Path) -> None:
    child = ChildProcess("child", [str(tmp_path / "nothing")], log=tmp_path / "log")
    assert child.wait(10) == 127
    child.kill()
    assert "not found" in child.log_tail()
