"""The time that a benchmark may take: parts always run, repetitions only while there is time for them."""

import time
from collections.abc import Callable, Iterator, Sequence


class Budget:
    """So many seconds from now on."""

    def __init__(self, seconds: float = float("inf"), clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def left_s(self) -> float:
        """Seconds that are left; negative when late."""
        return self._end - self._clock()

    def rounds(self, wanted: int, reserve_s: float = 0.0) -> Iterator[int]:
        """Yield 1 to `wanted`, but no round after the first if one like the longest so far would not fit.

        `reserve_s` seconds are kept for what comes after the rounds.
        """
        longest = 0.0
        for number in range(1, wanted + 1):
            if number > 1 and self.left_s < longest + reserve_s:
                return
            begin = self._clock()
            yield number
            longest = max(longest, self._clock() - begin)


def expected_s(before: Sequence[tuple[float, float]], size: float) -> float:
    """Return how long something takes by sizes and times of the same so far: as the last two, and a tenth more."""
    if len(before) < 2:
        return before[-1][1] * size / before[-1][0] if before else 0.0
    (smaller, less_s), (larger, more_s) = before[-2:]
    return 1.1 * (more_s + max(0.0, more_s - less_s) * (size - larger) / (larger - smaller))


def share_s(left_s: float, planned_s: Sequence[float]) -> float:
    """Return what the first of the parts that are left may take: its share of the time that is left."""
    return max(0.0, left_s) * planned_s[0] / sum(planned_s)
