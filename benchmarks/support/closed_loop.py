"""As many requests as a number of connections has answered: wrk where it is installed, else a client of asyncio."""

import asyncio
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import uvloop

from support.post import Pool

_T = TypeVar("_T")

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Measured:
    """Answers per second, and how long they took."""

    per_second: float
    p50_s: float
    p99_s: float


def has_wrk() -> bool:
    """Return whether wrk is installed."""
    return shutil.which("wrk") is not None


def generator() -> str:
    """Return the name of the load generator."""
    return "wrk, one thread" if has_wrk() else "uvloop with httptools, one process"


def wrk(url: str, script: str, connections: int, seconds: float, options: Sequence[str] = ()) -> Measured:
    """Run wrk with a Lua script. Every answer must be a 2xx: RuntimeError."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", *options, "--latency"]
        output = subprocess.run([*command, "-s", file.name, url], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(output)
    return Measured(
        float(_found(r"Requests/sec:\s+([\d.]+)", output)[0]),
        *(
            float(value) * _UNITS[unit]
            for value, unit in (_found(rf"{part}%\s+([\d.]+)(us|ms|s)", output) for part in (50, 99))
        ),
    )


def run(load: Coroutine[Any, Any, _T]) -> _T:
    """Run a load on the event loop that takes the least of the processors that it shares with what it measures."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load)


async def in_turn(pool: Pool, connections: int, seconds: float, ask: Callable[[], Awaitable[None]]) -> Measured:
    """Let so many clients ask, each its next question when it has its answer.

    All are connected before the time begins; it ends with the last answer.
    """
    times: list[float] = []
    await pool.connect(connections)
    began = time.monotonic()

    async def client() -> None:
        while (started := time.monotonic()) - began < seconds:
            await ask()
            times.append(time.monotonic() - started)

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(client())
    return of_times(times, time.monotonic() - began)


def of_times(times: Sequence[float], seconds: float) -> Measured:
    """Sum up the answers of so many seconds."""
    ordered = sorted(times)
    return Measured(len(ordered) / seconds, ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100])


def _found(pattern: str, output: str) -> tuple[str, ...]:
    match = re.search(pattern, output)
    if match is None:
        raise RuntimeError(output)
    return match.groups()
