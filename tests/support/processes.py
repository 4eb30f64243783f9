"""`bridge serve` and `streams worker` as an operator runs them, with servers that never answer."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from support.environment import clean_environment
from support.wait import eventually

#: By the name of the command line: what serves, a path that needs a token, and the method to ask it by.
COMMANDS = {"bridge": ("serve", "POST", "/webhooks"), "streams": ("worker", "GET", "/conversations")}


@dataclass
class Process:
    """A process of ours. `variables` come without the prefix of its settings."""

    name: str
    directory: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Choose a port."""
        with socket.socket() as chosen:
            chosen.bind(("127.0.0.1", 0))
            self.port = chosen.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of its own, without that of this process's servers."""
        own = {"HOST": "127.0.0.1", "PORT": str(self.port), **self.variables}
        directories = {"BRIDGE_SPOOL_DIR": "spool", "STREAMS_DATA_DIR": "data"}
        return {
            **clean_environment(),
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
            "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1",
            # No partition will ever be ready to be read.
            "STREAMS_READ_WAIT_S": "0",
            **{name: str(self.directory / value) for name, value in directories.items()},
            **{f"{self.name.upper()}_{name}": value for name, value in own.items()},
        }

    @property
    def output(self) -> Path:
        """Where its standard output goes."""
        return self.directory / "stdout"

    @property
    def errors(self) -> Path:
        """Where its standard error goes."""
        return self.directory / "stderr"

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the command line to its end."""
        return subprocess.run(
            [sys.executable, "-m", self.name, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, terminal: int | None = None) -> None:
        """Start it, and return when it answers. Its standard output may go to a terminal."""
        with self.output.open("wb") as output, self.errors.open("wb") as errors:
            command = [sys.executable, "-m", self.name, COMMANDS[self.name][0]]
            stdout = output if terminal is None else terminal
            self._process = subprocess.Popen(command, env=self.environment, stdout=stdout, stderr=errors)
        eventually(self.answers, within=120, every=0.2)

    def answers(self) -> bool:
        """Return whether it is alive."""
        assert self.code is None, self.errors.read_text()
        try:
            return self._ask("GET", "/healthz", {}).status_code == 200
        except httpx.TransportError:
            return False

    def status(self, token: str | None) -> int:
        """Return how a request with this token is answered."""
        _, method, path = COMMANDS[self.name]
        return self._ask(method, path, {} if token is None else {"Authorization": f"Bearer {token}"}).status_code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def code(self) -> int | None:
        """Return its exit code, None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self._process is not None
        return self._process.pid

    def is_served_by_another(self, worker: int) -> bool:
        """Return whether a child other than `worker` runs, and it answers."""
        found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return len(found) == 1 and int(found[0]) != worker and self.answers()

    def end(self) -> int:
        """End it in order, and return its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(60)

    def close(self) -> None:
        """End it by force, if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
        with httpx.Client(trust_env=False, timeout=10) as client:
            return client.request(method, f"http://127.0.0.1:{self.port}{path}", headers=headers)


def rewrite_unnoticed(file: Path, text: str) -> None:
    """Replace a file's text by one of the same length so that the file looks unchanged."""
    status = file.stat()
    assert len(text) == status.st_size
    file.write_text(text, "utf-8")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
