"""A part of the stack as its supervisor sees it, and the parts that are Python processes of this project."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

import httpx

from openbsp.handover import variables_for
from openbsp.http.listener import listen
from openbsp.local.errors import PortInUseError, StartError
from openbsp.local.ports import LOOPBACK, free_ports, is_free
from openbsp.local.process import ChildProcess, LogSink

if TYPE_CHECKING:
    import socket

START_SECONDS = 60.0
STOP_SECONDS = 15.0

_POLL_SECONDS = 0.05


class Part(Protocol):
    """What can be started, watched, stopped and started again. The servers of `openbsp.local` are parts."""

    @property
    def name(self) -> str:
        """As in `pids` and before the lines of its log."""

    @property
    def pid(self) -> int:
        """The process of the latest launch."""

    @property
    def running(self) -> bool:
        """Whether that process is there; it may not be ready."""

    @property
    def process(self) -> ChildProcess:
        """The process of the latest launch, to ask how it ended."""

    def launch(self) -> None:
        """Start the process without waiting for it."""

    def wait_ready(self, timeout: float = ...) -> None:
        """Return when it does its work; StartError when it ends before or `timeout` seconds pass."""

    def stop(self, timeout: float = ...) -> None:
        """End it in order, by force after `timeout` seconds."""

    def kill(self) -> None:
        """End it and all that it started at once."""


class PythonPart:
    """A process of this project: `python -m` with `arguments`, ready when `/readyz` on its port answers 200.

    The variables `<variables>_HOST` and `<variables>_PORT` set where it listens. Without a `port`, a free one is
    chosen and kept for later launches. With `keep_listening`, the socket is held here from the first launch until
    `close` and given to each process, so that connections wait from one to the next.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        variables: str,
        environment: Mapping[str, str],
        log: Path,
        port: int | None = None,
        keep_listening: bool = False,
        on_log: LogSink | None = None,
    ) -> None:
        self._keep_listening = keep_listening
        self._listener: socket.socket | None = None
        self._name = name
        self._arguments = arguments
        self._variables = variables
        self._environment = environment
        self._log = log
        self._port = port
        self._on_log = on_log
        self._process: ChildProcess | None = None

    @property
    def name(self) -> str:
        """As in `pids` and before the lines of its log."""
        return self._name

    @property
    def url(self) -> str:
        """The base address; known from `launch` on."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def process(self) -> ChildProcess:
        """The process of the latest launch."""
        if self._process is None:
            raise RuntimeError(f"{self._name} was not launched")
        return self._process

    @property
    def pid(self) -> int:
        """The process id of the latest launch."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there; it may not be ready."""
        return self._process is not None and self._process.returncode is None

    def start(self, timeout: float = START_SECONDS) -> None:
        """Launch the process and return when it is ready; see `launch` and `wait_ready` for the errors."""
        self.launch()
        self.wait_ready(timeout)

    def launch(self) -> None:
        """Start the process without waiting for it. PortInUseError."""
        if self._listener is None:
            if self._port is None:
                (self._port,) = free_ports(1)
            elif not is_free(self._port):
                raise PortInUseError(self._name, self._port)
            if self._keep_listening:
                self._listener = listen(LOOPBACK, self._port)
        self._process = ChildProcess(
            self._name,
            # -P: the working directory is no place to import from, whatever packages it has.
            [sys.executable, "-P", "-m", *self._arguments],
            log=self._log,
            env={
                **self._environment,
                f"{self._variables}_HOST": LOOPBACK,
                f"{self._variables}_PORT": str(self._port),
                "PYTHONUNBUFFERED": "1",
                **({} if self._listener is None else variables_for(self._listener)),
            },
            on_log=self._on_log,
            inherit=() if self._listener is None else (self._listener.fileno(),),
        )

    def wait_ready(self, timeout: float = START_SECONDS) -> None:
        """Return when `/readyz` answers 200. StartError if it ends or `timeout` seconds pass; it is gone then."""
        deadline = time.monotonic() + timeout
        try:
            # trust_env: a proxy of the environment is no way to 127.0.0.1.
            with httpx.Client(base_url=self.url, timeout=2.0, trust_env=False) as client:
                while not _answers(client):
                    if not self.running:
                        self._fail(f"ended with status {self.process.returncode} while starting")
                    if time.monotonic() > deadline:
                        self._fail(f"was not ready after {timeout:.0f} s")
                    time.sleep(_POLL_SECONDS)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """End the process in order, by force after `timeout` seconds; without effect when it does not run."""
        if self._process is not None:
            self._process.stop(timeout)

    def kill(self) -> None:
        """End the process and all that it started at once; without effect when it does not run."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Stop the process and refuse connections from then on."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self.stop()

    def _fail(self, reason: str) -> NoReturn:
        raise StartError(self._name, reason, self.process.log_tail())


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
