"""Judges whether what was measured of a process under a steady load has grown. Imports nothing of the project.

Medians of the quarters are compared, so what rises and falls again (a garbage collector, compaction, clients that come
and go) is no growth. The first quarter warms up: caches fill in it.
"""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Allowance(NamedTuple):
    """How much more there may be in the last quarter than in the second one: a share of that, and so much besides."""

    share: float
    room: float

    def beyond(self, level: float) -> float:
        """Return what is allowed beside a level."""
        return self.share * level + self.room


#: Of mebibytes. A leak of 1 KiB a webhook makes 175 MiB between the two quarters of an hour with 100 webhooks a second.
MEMORY = Allowance(0.05, 8.0)
#: Of descriptors, or threads.
COUNTED = Allowance(0.0, 8.0)


class Course(NamedTuple):
    """The first and the last value, and the medians of the quarters."""

    start: float
    quarters: tuple[float, float, float, float]
    end: float

    def has_grown(self, allowed: Allowance) -> bool:
        """Return whether the last quarter is beyond the second one by more than is allowed."""
        return self.quarters[3] - self.quarters[1] > allowed.beyond(self.quarters[1])


def course_of(values: Sequence[float]) -> Course:
    """Return the course of what was measured at equal distances, at least four times."""
    edges = [len(values) * number // 4 for number in range(5)]
    first, second, third, last = (median(values[edges[number] : edges[number + 1]]) for number in range(4))
    return Course(values[0], (first, second, third, last), values[-1])
