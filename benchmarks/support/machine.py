"""The machine that measured, and the command."""

import os
import platform
import shlex
import sys
from pathlib import Path

import psutil

#: The variable with the load before the first of several benchmarks.
LOAD = "BENCHMARK_LOAD_BEFORE"

#: Options that say where results go, and nothing of what is measured; each has a value.
_ELSEWHERE = {"--results", "--markdown", "--budget-s", "--logs"}


def command() -> str:
    """Return the command that runs, as somebody else would type it."""
    script, *arguments = sys.argv
    kept = [
        argument
        for before, argument in zip([script, *arguments], arguments, strict=False)
        if not {before, argument} & _ELSEWHERE
    ]
    return shlex.join(["python", f"benchmarks/{Path(script).name}", *kept])


def load() -> str:
    """Return the load average of the last five minutes: ask before the work, then it tells what else ran."""
    return os.environ.get(LOAD) or f"{os.getloadavg()[1]:.1f}"


def describe() -> str:
    """Return processors, memory, system, Python and the load before the start in a line."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} processors ({_processor()}), {memory:.0f} GiB, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}; load average before the start {load()}"
    )


def cpu_s(process: psutil.Process) -> float:
    """Return the processor time of a process and of all that it has started, so far, in seconds."""
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
