"""Changelogs are emptied in histories, and whoever takes over has each kind of store: nothing is lost by it.

The sources are whole, so each of these histories is judged as all are.
"""

from collections import Counter
from typing import Any

from simulation.history import run
from simulation.plan import plan_of
from streams.engine import standby, takeover
from streams.engine.restore import Changelog

SEEDS = 1_000


def test_emptied_changelogs_are_met_by_each_kind_of_store(monkeypatch) -> None:
    seen, ends = Counter[str](), Counter[str]()
    judge, reach, init, rebuild = takeover.judge_changelog, standby.reach, standby.Standby.__init__, Changelog.rebuild

    def judged(*args: Any, **named: Any) -> Any:
        damage = judge(*args, **named)
        if damage is not None and "emptied" in damage.problem:
            seen["built again" if damage.rebuild else "written back"] += 1
        return damage

    def reached(position: int, noted: Any, first: int, end: int, known_first: int) -> Any:
        until = reach(position, noted, first, end, known_first)
        if until is None and first > position and reach(position, noted, first, end, first) is not None:
            seen["what is left is not read in advance"] += 1
        return until

    def made(self: Any, *args: Any) -> None:
        init(self, *args)
        seen["late partitions" if self._late else "copies"] += 1

    def built(self: Changelog, first: int) -> None:
        rebuild(self, first)
        seen["built again with rows on a disk"] += next(iter(self.store.scan(b"")), None) is not None

    monkeypatch.setattr(takeover, "judge_changelog", judged)
    monkeypatch.setattr(standby, "reach", reached)
    monkeypatch.setattr(standby.Standby, "__init__", made)
    monkeypatch.setattr(Changelog, "rebuild", built)
    for plan in map(plan_of, range(SEEDS)):
        if plan.aim == "emptied":
            outcome = run(plan)
            assert outcome.wrong == [], plan.seed
            ends += outcome.ends
    seen["ended while it read"] = ends["RestoreFailedError"]
    print("figure:", dict(seen))
    assert min(seen.values()) > 0
    assert len(seen) == 7
