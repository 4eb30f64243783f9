"""`bridge serve` as an operator runs it, against servers of the test. Imports nothing of ours."""

import contextlib
import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from support.environment import clean_environment
from support.look import look
from support.wait import eventually

BRIDGE = Path(sys.executable).with_name("bridge")
TOKEN = "token-of-the-tests"
#: A tokens file: its token is the one with this hash, which nobody has.
TOKENS_FILE = f"other {'0' * 64}\n"
START_S = 120.0


def as_systemd(listener: socket.socket, command: Sequence[str | Path]) -> list[str | Path]:
    """Return what hands `listener`, which it must inherit, to `command` as systemd does (sd_listen_fds(3)).

    As descriptor 3, with variables that are meant for the process with this id.
    """
    given = listener.fileno()
    moved = "" if given == 3 else f" 3<&{given} {given}<&-"
    return ["bash", "-c", f'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"{moved}', "bash", *command]


class Adopted:
    """A process whose parent has ended, so that it is a child of this one now; as subprocess.Popen."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self, timeout: float = 60) -> int:
        eventually(lambda: self.poll() is not None, within=timeout)
        assert self._code is not None
        return self._code


_PR_SET_CHILD_SUBREAPER = 36


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Become the parent of orphans among the descendants of this process.

    Trap: only for a while. Orphans of later tests would stay zombies, because nobody here asks for their exit codes.
    """
    prctl = ctypes.CDLL(None).prctl
    assert prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        assert prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0


#: The commands that make what a bridge needs.
APPLY_TOPICS, REGISTER_SCHEMAS = ("topics", "apply"), ("schemas", "register")


def _await_success(process: "subprocess.Popen[bytes]") -> None:
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told.decode()


@dataclass
class Bridge:
    """A bridge with topics of its own on a running Kafka. It can be killed, ended and started again on its port."""

    kafka: str
    registry: str
    directory: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    file_size_limit: int | None = None
    prefix: str = field(default_factory=lambda: f"f{secrets.token_hex(4)}.")
    process: "subprocess.Popen[bytes] | Adopted | None" = None
    #: Held here and given to each start, as by systemd.
    listener: socket.socket | None = None

    def __post_init__(self) -> None:
        with socket.socket() as chosen:
            chosen.bind(("127.0.0.1", 0))
            self.port = chosen.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def topic(self) -> str:
        return f"{self.prefix}messages"

    @property
    def log(self) -> Path:
        return self.directory / "bridge.log"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **clean_environment(),
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "SCHEMA_REGISTRY_URL": self.registry,
            "TOPIC_PREFIX": self.prefix,
            "TOPIC_PARTITIONS": "4",
            "TOPIC_REPLICATION_FACTOR": "1",
            "TOPIC_MIN_INSYNC_REPLICAS": "1",
            "BRIDGE_TOKENS": f"tests={TOKEN}",
            "BRIDGE_SPOOL_DIR": str(self.directory / "spool"),
            "BRIDGE_PORT": str(self.port),
            **self.variables,
        }

    @property
    def topics(self) -> SimpleNamespace:
        """What a fleet of workers needs to know of its topics."""
        own = ("KAFKA_", "SCHEMA_REGISTRY_", "TOPIC_")
        environment = {name: value for name, value in self.environment.items() if name.startswith(own)}
        return SimpleNamespace(environment=environment, prefix=self.prefix)

    def prepare(self) -> None:
        """Make the topics and register the schemas, both at once."""
        started = [self._command(*command) for command in (APPLY_TOPICS, REGISTER_SCHEMAS)]
        for process in started:
            _await_success(process)

    def command(self, *arguments: str) -> None:
        """Run a command with its settings, which must succeed."""
        _await_success(self._command(*arguments))

    def _command(self, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [BRIDGE, *arguments]
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def listen(self) -> socket.socket:
        """Return a socket for `listener`, as systemd or `bridge up` would have it; the caller closes it."""
        return socket.create_server(("127.0.0.1", self.port), backlog=2048)

    def start(self) -> None:
        """Start the process and return when it answers."""
        with self.log.open("ab") as log:
            command: list[str | Path] = [BRIDGE, "serve"]
            if self.file_size_limit is not None:
                command = ["prlimit", f"--fsize={self.file_size_limit}", *command]
            descriptors: tuple[int, ...] = ()
            if self.listener is not None:
                descriptors = (self.listener.fileno(),)
                command = as_systemd(self.listener, command)
            self.process = subprocess.Popen(
                command,
                env=self.environment,
                stdout=log,
                stderr=log,
                pass_fds=descriptors,
                start_new_session=True,
            )
        eventually(self._answers, within=START_S)

    def _answers(self) -> bool:
        assert self.process is not None
        status = self.process.poll()
        if status is not None:
            raise RuntimeError(f"the bridge ended with {status}:\n{self.log.read_text()}")
        answer = look(f"{self.url}/healthz", timeout=2)
        return answer is not None and answer[0] == 200

    def kill(self) -> None:
        """Kill all its processes at once, as a crash of the machine or a service manager would."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        assert self.process is not None
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def terminate(self) -> tuple[int, float]:
        """End the process in order; return its exit code and the seconds that it took."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60), time.monotonic() - started

    def close(self) -> None:
        """End the process, if it runs, and show its log and what it said of itself, which a failed test prints."""
        if self.process is not None and self.process.poll() is None:
            print("--- bridge, /readyz:", look(f"{self.url}/readyz", TOKEN))
            self.terminate()
        if self.log.exists():
            lines = self.log.read_text("utf-8", "replace").splitlines()
            print("--- bridge", *(line for line in lines if '"status":202' not in line), sep="\n")

    def upgrade(self) -> None:
        """Have the supervisor replaced, as by a new version, and return when the former one has ended."""
        assert self.process is not None
        former = self.process
        workers = set(self.workers)
        with _adopting():
            former.send_signal(signal.SIGUSR2)
            (successor,) = eventually(lambda: set(self.workers) - workers)
            assert former.wait(START_S) == 0
        self.process = Adopted(successor)

    def readiness(self) -> dict[str, Any]:
        """Return what /readyz tells its operator."""
        answer = look(f"{self.url}/readyz", TOKEN)
        assert answer is not None, "the bridge does not answer"
        return json.loads(answer[1])

    @property
    def spooled(self) -> int:
        return self.readiness()["spool"]["events"]
