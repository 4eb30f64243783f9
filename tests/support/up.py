"""`bridge up --json` as a user runs it. Imports nothing of the project."""

import json
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from support.environment import clean_environment

BRIDGE = Path(sys.executable).with_name("bridge")
READY_S = 270.0
STOP_S = 60.0


@dataclass
class RunningStack:
    """A stack that is ready. `line` is what it printed."""

    process: subprocess.Popen[bytes]
    line: Mapping[str, Any]
    log: Path

    @property
    def kafka(self) -> str:
        return self.line["kafka"]

    @property
    def registry(self) -> str:
        return self.line["schema_registry"]

    @property
    def bridge(self) -> str:
        return self.line["bridge"]

    @property
    def views(self) -> str:
        return self.line["views"]

    @property
    def token(self) -> str:
        return self.line["token"]

    @property
    def pids(self) -> Mapping[str, int]:
        return self.line["pids"]

    def post(self, body: bytes) -> httpx.Response:
        """Send an event as OpenBSP would, once."""
        return httpx.post(
            f"{self.bridge}/webhooks",
            content=body,
            headers={"Content-Type": "application/json", "User-Agent": "pg_net/0.19.5", **self.authorization},
            timeout=5,
            trust_env=False,
        )

    def view(self, path: str) -> httpx.Response:
        """Ask the views."""
        return httpx.get(f"{self.views}{path}", headers=self.authorization, timeout=5, trust_env=False)

    def try_post(self, body: bytes) -> int | None:
        """Send an event once and return the status of the answer, None if there is none."""
        try:
            return self.post(body).status_code
        except httpx.TransportError:
            return None

    def try_view(self, path: str) -> httpx.Response | None:
        """Ask the views; return None if nobody answers."""
        try:
            return self.view(path)
        except httpx.TransportError:
            return None

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def supervisor_of_the_bridge(self) -> psutil.Process:
        """Return that which runs now."""
        children = psutil.Process(self.process.pid).children()
        found = [child for child in children if child.cmdline()[-2:] == ["bridge", "serve"]]
        (process,) = [each for each in found if "-c" not in each.cmdline()]
        return process

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal to `bridge up` and return its exit code; without effect when it ended already."""
        self.process.send_signal(number)
        status = self.process.wait(STOP_S)
        self.process.stdout.close()
        return status


def start_up(directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> RunningStack:
    """Start `bridge up --json` with more arguments and variables; return when it is ready."""
    log = directory / f"up-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BRIDGE, "up", "--json", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            env={**clean_environment(), **(environment or {})},
            cwd=directory,
        )
    try:
        ready, _, _ = select.select([process.stdout], [], [], READY_S)
        line = process.stdout.readline() if ready else b""
        assert line, f"`bridge up` printed nothing within {READY_S:g} s:\n{log.read_text('utf-8', 'replace')[-8000:]}"
        answer = json.loads(line)
    except BaseException:
        process.terminate()
        process.wait(STOP_S)
        process.stdout.close()
        raise
    return RunningStack(process, answer, log)
