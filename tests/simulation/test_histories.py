"""Whatever happens to the workers, tables and topics are in the end what the plain fold of all events says.

`make simulate SEEDS=0-9999` runs other histories, `make simulate SEED=17` one of them (docs/simulation.md).
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from simulation.history import run
from simulation.mutations import MUTATIONS
from simulation.plan import plan_of
from simulation.shrink import shrink
from support.wait import eventually

HISTORIES = 2_000 if os.environ.get("CI") else 200

#: Found by each of a few histories, so that those of CI are known to find something.
SOON_FOUND = {
    "contributions written, facts not: what is said again counts once",
    "everything written, the position not committed: status changes keep their ids",
    "partitions that were taken away are not answered for",
}


COMMAND = [sys.executable, "-m", "simulation.run"]
TESTS = Path(__file__).parents[1]


def simulate(*arguments: str) -> str:
    """Run histories, none of which may fail, and return the last line."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=TESTS,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout[-10_000:]}\n{done.stderr[-10_000:]}"
    last = done.stdout.splitlines()[-1]
    print("figure:", last)
    return last


@pytest.mark.timeout(3_600)
def test_histories_end_as_the_plain_fold_says() -> None:
    assert simulate(f"0-{HISTORIES - 1}", "--jobs", "2").startswith(f"{HISTORIES} histories ")


@pytest.mark.timeout(3_600)
def test_words_are_counted_exactly_in_histories_of_the_second_program() -> None:
    count = HISTORIES // 4
    assert simulate(f"0-{count - 1}", "--jobs", "2", "--subject", "words").startswith(f"{count} histories ")


def test_histories_fail_when_a_process_of_them_is_killed() -> None:
    """Its part was judged by nobody."""
    command = [*COMMAND, "0-99999", "--jobs", "2"]
    with subprocess.Popen(command, cwd=TESTS, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            eventually(lambda: _parts(process.pid), within=600)[0].kill()
            _, told = process.communicate(timeout=600)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 1
    assert b"BrokenProcessPool" in told


def _parts(pid: int) -> list[psutil.Process] | None:
    found = [child for child in psutil.Process(pid).children() if "spawn_main" in " ".join(child.cmdline())]
    return found if len(found) == 2 else None


@pytest.mark.parametrize("seed", [3, 7])
def test_a_history_is_the_same_each_time(seed: int) -> None:
    first, second = run(plan_of(seed)), run(plan_of(seed))
    assert first.wrong == []
    assert (first.digest, first.steps, first.seconds) == (second.digest, second.steps, second.seconds)


@pytest.mark.parametrize("rule", sorted(SOON_FOUND))
def test_a_fault_of_the_program_is_found_and_its_history_shrinks(rule: str) -> None:
    with MUTATIONS[rule]():
        plan = next(plan for plan in map(plan_of, range(20)) if run(plan).wrong)
        small = shrink(plan, lambda part: bool(run(part).wrong), runs=60)
        assert run(small).wrong != []
    assert len(small.arrivals) + len(small.faults) <= 4
    assert run(small).wrong == []


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_rules_of_the_join_are_found_when_they_are_broken() -> None:
    """By the histories of CI, and each by the first 300 of those that are made to find it."""
    simulate("0-1999", "--mutation", "each")
