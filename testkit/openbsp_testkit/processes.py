"""A stack as processes of this machine: `bridge up` in the services' environment, which ends when this process does."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from openbsp_testkit import lifeline
from openbsp_testkit.environment import clean_environment
from openbsp_testkit.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

START_S = 300.0
"""The first start on a machine fetches Kafka and the registry, which takes as long as it takes."""
STOP_S = 60.0

_NAME = "bridge up"
_LOG_BYTES = 8000
_OWN_VARIABLES = re.compile(r"(BRIDGE|STREAMS|KAFKA|SCHEMA_REGISTRY|TOPIC)_.*")


@contextmanager
def running(python: Path, variables: Mapping[str, str], *, timeout: float = START_S) -> Iterator[Mapping[str, Any]]:
    """Run `bridge up` with these variables and yield the line that it prints when it is ready. StartError.

    Its standard input is a pipe that only this process writes to. It ends when that is closed: at the end of the block,
    or by the kernel when this process is gone, however it ended.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 the services' own command
            # -I: modules of the same names in the team's folders and variables are ignored.
            [python, "-I", "-m", "bridge", "up", "--json", "--until-eof"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**_environment(), **variables},
            cwd=tempfile.gettempdir(),
            # Ctrl-C is for pytest, which then stops this gracefully.
            start_new_session=True,
        )
        lifeline.hold(process.stdin)
        try:
            yield _ready(process, log, timeout)
        finally:
            _end(process)


def _environment() -> dict[str, str]:
    return {name: value for name, value in clean_environment().items() if not _OWN_VARIABLES.fullmatch(name)}


def _ready(process: subprocess.Popen[bytes], log: IO[bytes], timeout: float) -> Mapping[str, Any]:
    line = _read_line(process, time.monotonic() + timeout)
    if line.endswith(b"\n"):
        answer: Mapping[str, Any] = json.loads(line)
        return answer
    reason = (
        f"was not ready after {timeout:.0f} s" if process.poll() is None else f"ended with status {process.returncode}"
    )
    size = os.fstat(log.fileno()).st_size
    tail = os.pread(log.fileno(), _LOG_BYTES, max(0, size - _LOG_BYTES))
    raise StartError(_NAME, reason, tail.decode("utf-8", "replace"))


def _read_line(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    assert process.stdout is not None  # noqa: S101 for the type checker
    output, line = process.stdout.fileno(), b""
    while not line.endswith(b"\n") and (left := deadline - time.monotonic()) > 0:
        if select.select([output], [], [], left)[0]:
            received = os.read(output, 4096)
            if not received:
                process.wait(STOP_S)
                break
            line += received
    return line


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
