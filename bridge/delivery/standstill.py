"""Tells of a spool from which nothing is published, whatever it waits for: no wait of the drain is silent."""

import logging
import time
from collections.abc import Callable

from openbsp.log import event

_log = logging.getLogger(__name__)

#: Longer than a broker's restart, a leader's move, and a producer that is replaced because it is silent (30 s).
_PATIENCE_S = 60.0
_AGAIN_S = 600.0


class Standstill:
    """Logs when events are in the spool and none has left it for a minute, every ten minutes, and the end of that."""

    def __init__(self, why: Callable[[], str], now: Callable[[], float] = time.monotonic) -> None:
        """Start with a spool that moves. `why` says what the drain waits for."""
        self._why = why
        self._now = now
        self._gone = 0
        self._since: float | None = None
        self._told_at: float | None = None

    def look(self, events: int, gone: int) -> None:
        """Compare with the look before: how many events are in the spool, and how many have ever left it."""
        now = self._now()
        if not events or gone != self._gone or self._since is None:
            self._gone = gone
            self._since = now if events else None
            if self._told_at is not None:
                self._told_at = None
                _log.warning(
                    "the spool drains again, %d events are in it", events, extra=event("spool.moving", events=events)
                )
            return
        seconds = now - self._since
        if seconds >= _PATIENCE_S and (self._told_at is None or now - self._told_at >= _AGAIN_S):
            self._told_at = now
            _log.error(
                "%d events are in the spool, and none has reached Kafka for %.0f s: %s. It is tried again for as long "
                "as it takes",
                events,
                seconds,
                self._why(),
                extra=event("spool.standing_still", events=events, seconds=round(seconds)),
            )
