"""Runs all benchmarks, writes their pages, and says which goals were met: `make bench`, in less than 40 minutes.

Each part is a process with a broker of its own, so that one that fails or hangs takes nothing with it. Sizes are fixed:
all of it fits into the budget on two processors that do nothing else. Where a machine is slower, parts repeat less,
workers are killed with fewer messages in their tables, and the largest numbers of conversations are left out.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from figures import summary
from figures.budget import Budget, share_s
from figures.results import Results
from ingress_bench import contestants
from join import preparation
from support.missing import MissingError
from support.say import say

from support import machine

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = ROOT / "build" / "bench"
DOCS = ROOT / "docs"
#: The rest of 40 minutes is for what `make bench` installs before, on a clean checkout.
_BUDGET_MIN = 37.5
#: A part that takes so many times its share, and so many seconds more, hangs. With --quick: those seconds.
_PATIENCE, _PATIENCE_S, _QUICK_PATIENCE_S = 1.5, 60.0, 1200.0

_CLEAN_UP_S = 30.0


@dataclass(frozen=True)
class Part:
    """A benchmark: seconds that it takes in full, and its options for that and for a smoke test."""

    name: str
    planned_s: float
    full: tuple[str, ...]
    quick: tuple[str, ...]

    def command(self, *, quick: bool, budget_s: float, directory: Path, docs: Path) -> list[str]:
        """Return what runs it; results go to one directory, the page to the other."""
        own = [*(self.quick if quick else self.full), "--budget-s", f"{budget_s:.0f}"]
        page = docs / f"benchmarks-{self.name}.md"
        files = ["--results", str(directory / f"{self.name}.json"), "--markdown", str(page)]
        return [sys.executable, "-u", str(HERE / f"{self.name}.py"), *own, *files]


#: Those that repeat nothing come first: repetitions of the others make up for what they take too long, or leave.
PARTS = (
    Part("restarts", 135, (), ("--scale", "0.02")),
    Part(
        "growth",
        1080,
        ("--partitions", "1,64"),
        ("--conversations", "200,300", "--fixed", "200", "--workers", "2", "--partitions", "16"),
    ),
    Part(
        "views",
        185,
        ("--conversations", "50000", "--seconds", "4"),
        (
            *("--conversations", "1000", "--watchers", "200", "--watch-seconds", "3", "--messages", "1000"),
            *("--rounds", "1", "--seconds", "1"),
        ),
    ),
    Part("ingress", 215, (), ("--rounds", "1", "--seconds", "1")),
    Part("spool", 150, (), ("--rounds", "1", "--seconds", "1")),
    Part(
        "join",
        365,
        ("--only", "ours,kafka-streams", "--scale", "0.4", "--runs", "5", "--seconds", "30"),
        ("--scale", "0.005", "--runs", "1", "--seconds", "10"),
    ),
)


def main(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="A smoke test of everything: pages go to build/.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this part; the summary has the latest results of the others.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=1, help="No repetitions beyond so many minutes.")] = _BUDGET_MIN,
    docs: Annotated[Path | None, typer.Option(file_okay=False, help="Where pages go, if not to docs/.")] = None,
) -> None:
    """Run all benchmarks. Goes on after a part that fails, and ends with 1 then."""
    names = [part.name for part in PARTS]
    if unknown := sorted(set(only or ()) - set(names)):
        raise typer.BadParameter(f"{', '.join(unknown)}: none of {', '.join(names)}", param_hint="--only")
    budget = Budget(minutes * 60)
    directory = RESULTS / "quick" if quick else RESULTS
    docs = (docs or (directory / "docs" if quick else DOCS)).resolve()
    for each in (directory, docs):
        each.mkdir(parents=True, exist_ok=True)
    waiting = [part for part in PARTS if part.name in (only or names)]
    failed = []
    # Within a part, it would be that of the part before.
    os.environ[machine.LOAD] = machine.load()
    _prepare()
    for number, part in enumerate(waiting):
        mine_s = share_s(budget.left_s, [each.planned_s for each in waiting[number:]])
        left = f"{mine_s / 60:.1f} of the {budget.left_s / 60:.1f} minutes that are left"
        say(f"part {number + 1} of {len(waiting)}: {part.name}, {left}")
        patience_s = _QUICK_PATIENCE_S if quick else mine_s * _PATIENCE + _PATIENCE_S
        command = part.command(quick=quick, budget_s=mine_s, directory=directory, docs=docs)
        if why := _run(command, directory / part.name, patience_s):
            failed.append(f"{part.name} ({why}; its output: {directory / part.name}.log)")
            say(f"FAILED: {failed[-1]}")
    files = {name: directory / f"{name}.json" for name in names}
    results = {name: Results.read(file) for name, file in files.items() if file.exists()}
    typed = "python benchmarks/all.py" + (" --quick" if quick else "")
    failures = [each.partition(" (")[0] for each in failed]
    (docs / "benchmarks.md").write_text(summary.page(typed, results, failures, docs / "plots"), "utf-8")
    print(f"\n{summary.closing(results, failed)}")
    say(f"all done; pages are in {docs}")
    if failed:
        raise typer.Exit(1)


def _prepare() -> None:
    """Build what contestants need. Who cannot be had is left out by its part, which says so."""
    go = (partial(contestants.go, "minimal"), partial(contestants.go, "bento"))
    # What is mostly fetched beside what is mostly compiled.
    with ThreadPoolExecutor() as threads:
        list(threads.map(_all_that_can_be_had, ((preparation.java, contestants.java, preparation.quix), go)))


def _all_that_can_be_had(builds: Iterable[Callable[[], object]]) -> None:
    for build in builds:
        with contextlib.suppress(MissingError):
            build()


def _run(command: list[str], output: Path, patience_s: float) -> str:
    """Run a part to its end, and return what went wrong; what it prints goes on, and to a file."""
    output.with_suffix(".json").unlink(missing_ok=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    late = threading.Event()

    def give_up() -> None:
        late.set()
        _end(process)

    timer = threading.Timer(patience_s, give_up)
    timer.start()
    assert process.stdout is not None
    try:
        with output.with_suffix(".log").open("wb") as log:
            for line in process.stdout:
                log.write(line)
                sys.stdout.buffer.write(line)
                sys.stdout.flush()
        status = process.wait()
    finally:
        timer.cancel()
        _end(process)
    if late.is_set():
        return f"ended after {patience_s:.0f} s"
    return f"exit code {status}" if status else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a part that runs, and what it has started: it may clean up, for a while."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_CLEAN_UP_S)
    # Trap: what it has started may outlive it, with the pipe that its output is read from.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    typer.run(main)
