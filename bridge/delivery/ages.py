"""The age of events, even if this machine's clock is set while they wait."""

import time
from collections import deque
from collections.abc import Callable

#: A larger jump means that the clock was set; a smaller one is normal correction.
_STEP_S = 5.0
_REMEMBERED_STEPS = 100


class Ages:
    """Computes ages by the clock, less the jumps forward that the clock made while an event waited.

    Trap: an event whose age is limited must not become a dead letter because the time was corrected by hours. For
    events of a former process only the clock is known. A clock set back makes events younger, which does no harm.
    """

    def __init__(self, now: Callable[[], float] = time.time, elapsed: Callable[[], float] = time.monotonic) -> None:
        """Start without jumps. `now` is the clock, in seconds since the epoch; `elapsed` is monotonic."""
        self._now = now
        self._elapsed = elapsed
        self._looked_at = now(), elapsed()
        #: The clock's time before each jump forward, and the seconds of the jump.
        self._steps: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED_STEPS)

    def look(self) -> None:
        """Detect whether the clock was set since the last call. To be called about every second."""
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
