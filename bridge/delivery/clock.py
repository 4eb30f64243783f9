"""The difference between this machine's clock and the brokers', measured by acknowledgements."""

import logging
import time
from collections.abc import Callable

from openbsp.log import event

_log = logging.getLogger(__name__)

#: More than synchronized clocks differ, and than an acknowledgement takes.
_TOLERATED_S = 30.0
_WINDOW_S = 30.0


class ClockSkew:
    """Compares the time at which a broker appended a record with the time at which the report arrives here.

    The difference is the skew plus the delay of the report, so the smallest one of a while is the best estimate.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """Start without a measurement. `now` is this machine's clock, in seconds since the epoch."""
        self._now = now
        self._began = time.monotonic()
        self._former: float | None = None
        self._current: float | None = None
        #: A note for operators, None if there is none.
        self.remark: str | None = None

    def appended(self, broker_ms: int) -> None:
        """Measure by a record just acknowledged that a broker appended at `broker_ms` of its clock."""
        ahead = self._now() - broker_ms / 1000
        if time.monotonic() - self._began > _WINDOW_S:
            self._began = time.monotonic()
            self._former, self._current = self._current, None
        self._current = ahead if self._current is None else min(self._current, ahead)
        self._judge()

    @property
    def ahead_s(self) -> float | None:
        """Seconds by which this machine's clock is ahead, negative if it is behind; None while it is not known."""
        known = [seconds for seconds in (self._former, self._current) if seconds is not None]
        return min(known) if known else None

    def _judge(self) -> None:
        seconds = self.ahead_s or 0.0
        if abs(seconds) <= _TOLERATED_S:
            if self.remark is not None:
                _log.warning("this machine's clock agrees with the brokers' again", extra=event("clock.right"))
            self.remark = None
            return
        where = "ahead of" if seconds > 0 else "behind"
        if self.remark is None:
            _log.error(
                "this machine's clock is %.0f s %s the brokers': `received_at` and the ages of events are wrong by as "
                "much. Set the clock that is wrong, and have it kept right (NTP)",
                abs(seconds),
                where,
                extra=event("clock.skewed", ahead_s=round(seconds, 1)),
            )
        self.remark = f"this machine's clock is {abs(seconds):.0f} s {where} the brokers'; set the one that is wrong"
