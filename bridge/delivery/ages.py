"""How old events are, although this machine's clock may be set while they wait."""

import time
from collections import deque
from collections.abc import Callable

#: By more than this the clock was set; by less it is kept right.
_STEP_S = 5.0
_REMEMBERED_STEPS = 100


class Ages:
    """Computes ages by the clock, less what the clock was set forward by while an event waited.

    Trap: an event whose age has a limit must not become a dead letter because somebody corrected the time by hours.
    For what was received by a former process only the clock is known. A clock that is set back makes events younger,
    which does no harm.
    """

    def __init__(self, now: Callable[[], float] = time.time, elapsed: Callable[[], float] = time.monotonic) -> None:
        """Know of no step yet. `now` is the clock, in seconds since the epoch; `elapsed` is monotonic."""
        self._now = now
        self._elapsed = elapsed
        self._looked_at = now(), elapsed()
        #: The clock's time before each step forward, and the seconds of the step.
        self._steps: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED_STEPS)

    def look(self) -> None:
        """Notice whether the clock was set since the last look. To be called every second or so."""
        before, elapsed_before = self._looked_at
        now, elapsed = self._looked_at = self._now(), self._elapsed()
        expected = before + elapsed - elapsed_before
        if now - expected > _STEP_S:
            self._steps.append((expected, now - expected))

    def age_s(self, received_at: int) -> float:
        """Return the seconds since an event was received; `received_at` is in microseconds since the epoch."""
        self.look()
        received = received_at / 1_000_000
        steps = sum(step for before, step in self._steps if received <= before)
        return max(0.0, self._now() - received - steps)
