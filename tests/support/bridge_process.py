"""`bridge serve` as an operator runs it, against servers of the test. Imports nothing of ours."""

import os
import resource
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from support.wait import eventually

BRIDGE = Path(sys.executable).with_name("bridge")
TOKEN = "token-of-the-tests"
START_S = 30.0


def clean_environment() -> dict[str, str]:
    """Return the environment without what would change our processes behind the test's back."""
    own = ("BRIDGE_", "STREAMS_", "KAFKA_", "SCHEMA_REGISTRY_", "TOPIC_")
    return {key: value for key, value in os.environ.items() if not key.startswith(own)}


@dataclass
class Bridge:
    """A bridge with topics of its own on a running Kafka. It can be killed, ended and started again on its port."""

    kafka: str
    registry: str
    directory: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    file_size_limit: int | None = None
    prefix: str = field(default_factory=lambda: f"f{secrets.token_hex(4)}.")
    process: "subprocess.Popen[bytes] | None" = None

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
        return self.directory / "openbsp.log"

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

    def prepare(self) -> None:
        """Make the topics and register the schemas."""
        for command in (["topics", "apply"], ["schemas", "register"]):
            subprocess.run([BRIDGE, *command], env=self.environment, check=True, capture_output=True)

    def start(self) -> None:
        """Start the process and return when it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([BRIDGE, "serve"], env=self.environment, stdout=log, stderr=log)
        if self.file_size_limit is not None:
            limit = self.file_size_limit
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        eventually(self._answers, within=START_S)

    def _answers(self) -> bool:
        assert self.process is not None
        status = self.process.poll()
        if status is not None:
            raise RuntimeError(f"the bridge ended with {status}:\n{self.log.read_text()}")
        try:
            return httpx.get(f"{self.url}/healthz", timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """Kill the process as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> tuple[int, float]:
        """End the process in order; return its exit code and the seconds that it took."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60), time.monotonic() - started

    def close(self) -> None:
        """End the process, if it runs, and show its log, which a failed test prints."""
        if self.process is not None and self.process.poll() is None:
            self.terminate()
        if self.log.exists():
            lines = self.log.read_text("utf-8", "replace").splitlines()
            print("--- bridge", *(line for line in lines if '"status":202' not in line), sep="\n")

    def readiness(self) -> dict[str, Any]:
        """Return what /readyz tells its operator."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.get(f"{self.url}/readyz", headers=headers, timeout=5, trust_env=False).json()

    @property
    def spooled(self) -> int:
        return self.readiness()["spool"]["events"]
