"""The parts of a stack that are Python processes of this project."""

import http.client
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from openbsp.handover import variables_for
from openbsp.http.listener import listen
from openbsp.local.errors import PortInUseError
from openbsp.local.part import Part
from openbsp.local.ports import LOOPBACK, free_ports, is_free
from openbsp.local.process import ChildProcess, LogSink

if TYPE_CHECKING:
    import socket

_ANSWER_SECONDS = 2.0


class PythonPart(Part):
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
        self.name = name
        self._keep_listening = keep_listening
        self._listener: socket.socket | None = None
        self._arguments = arguments
        self._variables = variables
        self._environment = environment
        self._log = log
        self._port = port
        self._on_log = on_log

    @property
    def url(self) -> str:
        """The base address; known from `launch` on."""
        return f"http://{LOOPBACK}:{self._port}"

    def launch(self) -> None:
        """Start the process without waiting for it. PortInUseError."""
        if self._listener is None:
            if self._port is None:
                (self._port,) = free_ports(1)
            elif not is_free(self._port):
                raise PortInUseError(self.name, self._port)
            if self._keep_listening:
                self._listener = listen(LOOPBACK, self._port)
        self._process = ChildProcess(
            self.name,
            # -P: nothing is imported from the working directory, whatever packages it has.
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

    def close(self) -> None:
        """Stop the process and refuse connections from then on."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self.stop()

    def _answers(self, timeout: float) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=max(0.1, min(timeout, _ANSWER_SECONDS)))
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
