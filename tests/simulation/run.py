"""`python -m simulation.run SEEDS`: runs histories by their seeds; one that fails is shown, shrunk."""

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field

from simulation.history import Outcome, run
from simulation.mutations import AIMED, MUTATIONS
from simulation.plan import plan_of
from simulation.shrink import shrink
from simulation.subjects import SUBJECTS

#: Shown of one seed.
_MOST_LINES = 10
#: Seeds that are shrunk.
_MOST_FAILURES = 3
#: Of the seeds, those in which one mutation is looked for.
_MOST_HISTORIES = 300


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", help="one seed, or a range such as 0-1999")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--verbose", action="store_true", help="show the plan and what the workers log")
    parser.add_argument("--mutation", choices=[*MUTATIONS, "each"], help="put this fault, or each, into the program")
    parser.add_argument("--subject", choices=[*SUBJECTS], default="join", help="the program that is run")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    if arguments.mutation == "each":
        return _mutate(seeds)
    size = -(-len(seeds) // arguments.jobs)
    options = arguments.subject, arguments.mutation, arguments.verbose
    parts = [(seeds[start : start + size], *options) for start in range(0, len(seeds), size)]
    began, total = time.monotonic(), _Total()
    # A part that is killed ends all others, and this process, with an exception.
    for part in _run_each(parts) if len(parts) > 1 else map(_run, parts):
        total.judged += part.judged
        total.failed += part.failed
        total.simulated_s += part.simulated_s
        total.ends += part.ends
    print(
        f"{total.judged} histories in {time.monotonic() - began:.0f} s ({total.simulated_s:.0f} s simulated), "
        f"{total.failed} failed; workers ended: {dict(total.ends)}",
        flush=True,
    )
    return 1 if total.failed or total.judged != len(seeds) else 0


@dataclass
class _Total:
    judged: int = 0
    failed: int = 0
    simulated_s: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)


def _run_each(parts: list[tuple[range, str, str | None, bool]]) -> list[_Total]:
    with ProcessPoolExecutor(len(parts), mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(_run, parts))


def _run(part: tuple[range, str, str | None, bool]) -> _Total:
    seeds, subject, rule, verbose = part
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    else:
        logging.disable(logging.CRITICAL)
    make, total = SUBJECTS[subject]().plan, _Total()
    with MUTATIONS[rule]() if rule else nullcontext():
        for seed in seeds:
            plan = make(seed)
            if verbose:
                print(plan, flush=True)
            outcome = run(plan, subject)
            total.judged += 1
            total.ends += outcome.ends
            total.simulated_s += outcome.seconds
            if outcome.wrong:
                total.failed += 1
                _show(f"seed {seed} fails", outcome)
                if total.failed <= _MOST_FAILURES:
                    small = shrink(plan, lambda part: bool(run(part, subject).wrong))
                    print(small, flush=True)
                    _show("  shrunk", run(small, subject))
    return total


def _show(what: str, outcome: Outcome) -> None:
    print(what)
    for line in outcome.wrong[:_MOST_LINES]:
        print(f"    {line}")
    if len(outcome.wrong) > _MOST_LINES:
        print(f"    and {len(outcome.wrong) - _MOST_LINES} more")


def _mutate(seeds: range) -> int:
    """Return 1 if a mutation is not found by the first histories of those that are made to find it."""
    logging.disable(logging.CRITICAL)
    plans = [plan_of(seed) for seed in seeds]
    missed = 0
    for rule, mutation in MUTATIONS.items():
        began = time.process_time()
        aim = AIMED.get(rule)
        chosen = [plan for plan in plans if aim in {None, plan.aim}][:_MOST_HISTORIES]
        with mutation():
            found = next(((plan.seed, wrong[0]) for plan in chosen if (wrong := run(plan).wrong)), None)
        missed += found is None
        told = f"NOT FOUND by {len(chosen)}" if found is None else f"found by seed {found[0]}: {found[1][:120]}"
        print(f"{time.process_time() - began:6.1f} s  {rule}\n          {told}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets must be the same in each run.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "simulation.run", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
