"""The machine that measured."""

import os
import platform
from pathlib import Path

import psutil


def describe() -> str:
    """Return processors, memory, system, Python and the load of the last five minutes in a line.

    Ask before the work: the load then tells what else ran.
    """
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} processors ({_processor()}), {memory:.0f} GiB, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}; load average before the start {os.getloadavg()[1]:.1f}"
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
