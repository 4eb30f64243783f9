"""Makes a history that fails smaller: fewer faults, fewer events, as long as it fails."""

from collections.abc import Callable

from simulation.plan import Plan


def shrink(plan: Plan, fails: Callable[[Plan], bool], runs: int = 400) -> Plan:
    """Return a part of a plan that still fails, after at most so many tries."""
    left = runs

    def still(part: Plan) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and fails(part)

    before = None
    while plan != before and left > 0:
        before = plan
        plan = _fewer(plan, "faults", still)
        plan = _fewer(plan, "arrivals", still)
    return plan


def _fewer(plan: Plan, what: str, still: Callable[[Plan], bool]) -> Plan:
    size = max(1, len(getattr(plan, what)) // 2)
    while True:
        start = 0
        while start < len(getattr(plan, what)):
            part = plan.without(**{what: set(range(start, start + size))})
            # Without an event there is nothing to be wrong about.
            if part.arrivals and still(part):
                plan = part
            else:
                start += size
        if size == 1:
            return plan
        size //= 2
