"""One run of one contestant."""

import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from support.machine import cpu_s
from support.say import say

from join.cluster import INPUTS, OUTPUTS, Cluster
from join.contestants import Contestant
from join.judge import judge
from join.workload import Workload

_POLL_SECONDS = 1.0
GIVE_UP_S = 1800.0


class NotDoneError(Exception):
    """A contestant ended early, stood still, or wrote something else than it should."""


@dataclass(frozen=True)
class Result:
    """`seconds` from the first event taken to the last output needed, `late_seconds` from half of the outputs on.

    Processor time and memory are those of all processes of the contestant, start included.
    """

    key: str
    name: str
    events: int
    seconds: float
    late_seconds: float
    cpu_seconds: float
    peak_bytes: int
    written: int

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds

    @property
    def late_rate(self) -> float:
        """Events per second of the second half: what is left when a JVM has warmed up."""
        return self.events / 2 / self.late_seconds


def run(cluster: Cluster, workload: Workload, contestant: Contestant, give_up_s: float = GIVE_UP_S) -> Result:
    """Let a contestant do the job on fresh topics, and judge it. Raises NotDoneError, at the latest after that time."""
    cluster.reset(keep=INPUTS)
    contestant.directory.mkdir(parents=True)
    try:
        contestant.launch()
        wait(cluster, contestant, give_up_s)
        used = [psutil.Process(process.pid) for process in contestant.processes]
        cpu_seconds = sum(cpu_s(process) for process in used)
        peak_bytes = sum(_peak_bytes(process) for process in used)
    finally:
        contestant.stop()
    verdict = judge(cluster, workload)
    if verdict.faults:
        raise NotDoneError(f"{contestant.name}: " + "; ".join(verdict.faults))
    seconds = (verdict.complete_at - contestant.started_at()) / 1000
    late_seconds = (verdict.complete_at - verdict.half_at) / 1000
    written = sum(verdict.written.values())
    result = Result(
        contestant.key, contestant.name, len(workload), seconds, late_seconds, cpu_seconds, peak_bytes, written
    )
    say(
        f"{result.name}: {result.seconds:.1f} s, {result.rate:,.0f} events/s ({result.late_rate:,.0f} in the second"
        f" half), {cpu_seconds:.1f} s of processor,"
        f" {peak_bytes / 2**20:.0f} MiB, written: {verdict.written}"
    )
    return result


def wait(cluster: Cluster, contestant: Contestant, give_up_s: float) -> None:
    """Return when the end of the input is committed and nothing was written for a while. Raises NotDoneError."""
    deadline = time.monotonic() + give_up_s
    seen: object = None
    changed = time.monotonic()
    with cluster.positions(contestant.group, contestant.sources) as positions:
        while True:
            time.sleep(_POLL_SECONDS)
            now = time.monotonic()
            for process in contestant.processes:
                if process.returncode is not None:
                    raise NotDoneError(f"{contestant.name} ended with {process.returncode}:\n{process.log_tail()}")
            written = cluster.ends(OUTPUTS)
            if written != seen:
                seen, changed = written, now
            committed = positions()
            goal = cluster.ends(contestant.sources)
            done = all(committed[position] >= end for position, end in goal.items() if end > 0)
            if done and now - changed >= contestant.quiet_seconds:
                return
            if now > deadline:
                raise NotDoneError(f"{contestant.name} was not done after {give_up_s:.0f} s")


def _peak_bytes(process: psutil.Process) -> int:
    """Return the largest resident set so far (VmHWM) on Linux, the present one elsewhere."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
    except FileNotFoundError:
        return int(process.memory_info().rss)
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
