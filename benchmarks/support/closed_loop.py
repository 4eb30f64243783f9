"""As many requests as a number of connections has answered: wrk where it is installed, else a client of asyncio."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

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
    return "wrk, one thread" if has_wrk() else "asyncio with httptools, one process"


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


def of_times(times: Sequence[float], seconds: float) -> Measured:
    """Sum up the answers of so many seconds."""
    ordered = sorted(times)
    return Measured(len(ordered) / seconds, ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100])


def _found(pattern: str, output: str) -> tuple[str, ...]:
    match = re.search(pattern, output)
    if match is None:
        raise RuntimeError(output)
    return match.groups()
