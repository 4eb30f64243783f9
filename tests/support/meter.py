"""Samples what processes take of the machine in the course of a long run. Imports nothing of the project."""

import contextlib
import csv
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

_MIB = 1 << 20

Pids = Callable[[], Iterable[int]]


class Meter:
    """`samples` are rows by name of the column. Each is in the file as soon as it is taken."""

    def __init__(self, file: Path, processes: Mapping[str, Pids], stores: Path, spool: Path) -> None:
        """Measure processes by their names; their descriptors of files in `stores` are counted for themselves."""
        self.samples: list[dict[str, float]] = []
        self.file = file
        self._processes = processes
        self._stores = stores
        self._spool = spool

    def take(self, **told: float) -> None:
        """Take a sample, with what the caller tells besides."""
        sample = dict(told)
        files = 0
        for name, pids in self._processes.items():
            found = list(pids())
            sample[f"{name} MiB"] = sum(map(_own_bytes, found)) / _MIB
            opened = [target for pid in found for target in _opened(pid)]
            in_stores = sum(target.startswith(f"{self._stores}/") for target in opened)
            sample[f"{name} descriptors"] = len(opened) - in_stores
            sample[f"{name} threads"] = sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in found)
            files += in_stores
        sample["spool MiB"] = _size(self._spool) / _MIB
        sample["stores MiB"] = _size(self._stores) / _MIB
        sample["store files"] = files
        self.samples.append(sample)
        with self.file.open("a", newline="") as file:
            writer = csv.DictWriter(file, sample)
            if len(self.samples) == 1:
                writer.writeheader()
            writer.writerow({column: round(value, 3) for column, value in sample.items()})

    def column(self, name: str) -> list[float]:
        """Return all that was measured of one thing."""
        return [sample[name] for sample in self.samples]


def _own_bytes(pid: int) -> int:
    """Return the memory of a process but for files: what it shares with a fork counts in parts, so that sums are right.

    Trap: pages of programs and libraries count for one process more when another one that has mapped them ends.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    parts = [int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))]
    assert len(parts) == 2, "this kernel (before 5.9) does not tell the memory of its own of a process"
    return sum(parts) * 1024


def _opened(pid: int) -> list[str]:
    """Return what the descriptors of a process are of."""
    targets = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since
            targets.append(str(descriptor.readlink()))
    return targets


def _size(directory: Path) -> int:
    """Return the bytes of all files, some of which may go meanwhile."""
    total = 0
    for where, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(where, name).stat().st_size
    return total
