"""Child processes that never outlive the process that started them."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LogSink = Callable[[str, str], None]
"""Called with the name of a child and one line of its output, without the newline, from a thread of that child."""

# The shell becomes the program (exec keeps its process id) and leaves a watchdog behind in the child's process group.
# The watchdog reads from a pipe whose other end only the parent has: the end of that file means that the parent is
# gone, however it went, and kills the group. There is no moment at which the child runs without it. The group also
# keeps the kernel from reusing its number, so the kill can never hit another process.
_SUPERVISED = """
exec 3<&0 </dev/null
trap '' HUP INT TERM
(read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 &
trap - HUP INT TERM
exec "$@" 3<&-
"""

_TAIL_INTERVAL_SECONDS = 0.05
_TAIL_BYTES = 32768


class ChildProcess:
    """A running child in a session of its own, so that Ctrl-C in a terminal reaches only its parent.

    Standard output and error go to the file `log`, which only this user may read; the log of an earlier run is kept as
    `<log>.1`. The child writes to the file itself, so a reader that stalls cannot block it. `on_log` gets the lines
    too, from a thread. The descriptors `inherit` stay open in the child. A program that cannot be executed ends with
    status 126 or 127.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_log: LogSink | None = None,
        inherit: Sequence[int] = (),
    ) -> None:
        self.name = name
        self._log = log
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            log.replace(log.with_name(f"{log.name}.1"))
        with open(log, "xb", opener=_private) as output:
            self._process = subprocess.Popen(  # noqa: S603 - a fixed script, and what the caller wants to run
                ["/bin/sh", "-c", _SUPERVISED, "sh", *argv],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                start_new_session=True,
                pass_fds=inherit,
            )
        self._ended = threading.Event()
        self._tail: threading.Thread | None = None
        if on_log is not None:
            self._tail = threading.Thread(target=self._follow, args=(on_log,), name=f"{name}-log", daemon=True)
            self._tail.start()

    @property
    def pid(self) -> int:
        """The process id of the program itself (not of a wrapper)."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while the child runs; its exit status after that, negative for a signal.

        The first call here or of `wait` that finds the child ended also ends the processes it left running.
        """
        status = self._process.poll()
        if status is not None:
            self._release_watchdog()
        return status

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the child has ended by itself; TimeoutError after `timeout` seconds."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            msg = f"{self.name} still runs after {timeout} s"
            raise TimeoutError(msg) from None
        self._release_watchdog()
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the program; without effect when it has ended."""
        self._process.send_signal(number)

    def stop(self, timeout: float) -> None:
        """Stop the child (SIGTERM), kill it after `timeout` seconds, and return when it is gone."""
        self.send_signal(signal.SIGTERM)
        self.send_signal(signal.SIGCONT)  # a stopped process would not get the first one
        with contextlib.suppress(TimeoutError):
            self.wait(timeout)
        self.kill()

    def kill(self) -> None:
        """End the child and everything that it started at once (SIGKILL), and return when it is gone."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it ended in this moment
                os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        self._ended.set()
        if self._tail is not None and self._tail is not threading.current_thread():
            self._tail.join()

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of the output so far."""
        with self._log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])

    def _release_watchdog(self) -> None:
        """Make it kill the rest of the group, and itself."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _follow(self, on_log: LogSink) -> None:
        pending = b""
        with self._log.open("rb") as file:
            while True:
                ended = self._ended.is_set() or self.returncode is not None
                *lines, pending = (pending + file.read()).split(b"\n")
                for line in lines:
                    on_log(self.name, line.decode("utf-8", "replace"))
                if ended:
                    break
                self._ended.wait(_TAIL_INTERVAL_SECONDS)
        if pending:
            on_log(self.name, pending.decode("utf-8", "replace"))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
