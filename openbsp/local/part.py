"""A part of a stack: a process that is started, waited for, stopped and started again."""

import signal
import time
from abc import ABC, abstractmethod
from typing import NoReturn, Self

from openbsp.local.errors import StartError
from openbsp.local.process import ChildProcess

#: One that ends is noticed at once. This is for one that hangs: a busy machine takes more than a minute.
START_SECONDS = 180.0
STOP_SECONDS = 15.0

_POLL_SECONDS = 0.03


class Part(ABC):
    """A supervised process. A context manager: started inside, stopped at the end."""

    name: str
    """As in the `pids` of a stack and as the prefix of its log lines."""
    _process: ChildProcess | None = None

    @property
    def process(self) -> ChildProcess:
        """The process of the latest launch."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not launched")
        return self._process

    @property
    def pid(self) -> int:
        """The process id of the latest launch."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists; it may be stopped or not ready yet."""
        return self._process is not None and self._process.returncode is None

    def start(self, timeout: float = START_SECONDS) -> None:
        """Launch the process and return when it is ready; see `launch` and `wait_ready` for the errors."""
        self.launch()
        self.wait_ready(timeout)

    @abstractmethod
    def launch(self) -> None:
        """Start the process without waiting for it. PortInUseError."""

    def wait_ready(self, timeout: float = START_SECONDS) -> None:
        """Return when it is ready. StartError if it ends before or `timeout` seconds pass; it is gone then."""
        deadline = time.monotonic() + timeout
        try:
            while not self._answers(deadline - time.monotonic()):
                if not self.running:
                    self._ended_early()
                if time.monotonic() > deadline:
                    self._fail(f"was not ready after {timeout:.0f} s")
                time.sleep(_POLL_SECONDS)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Stop the process gracefully, by force after `timeout` seconds; without effect when it does not run."""
        if self._process is not None:
            self._process.stop(timeout)

    def kill(self) -> None:
        """End it and all that it started at once (SIGKILL), as a crash would; without effect when it does not run."""
        if self._process is not None:
            self._process.kill()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, such as SIGSTOP and SIGCONT."""
        self.process.send_signal(number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def _answers(self, timeout: float) -> bool:
        """Whether the process is ready; to be found out within `timeout` seconds."""

    def _ended_early(self) -> None:
        """Raise StartError, or launch it in another way: it ended while it started."""
        self._fail(f"ended with status {self.process.returncode} while it started")

    def _fail(self, reason: str) -> NoReturn:
        raise StartError(self.name, reason, self.process.log_tail())
