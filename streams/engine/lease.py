"""The lease: how long this worker may act as owner without asking the group."""

from streams.engine.errors import FrozenError, LeaseLostError
from streams.engine.outside import Clock


class Lease:
    """Watches the clock: the loop must not be blocked, commits must succeed."""

    def __init__(self, lease_s: float, clock: Clock) -> None:
        """Start with nothing owned."""
        self.lease_s = lease_s
        self._clock = clock
        self._ticked_at = 0.0
        self._renewed_at = 0.0
        self._confirmed_at = 0.0

    def start(self) -> None:
        """Watch the loop from now on."""
        self._ticked_at = self._clock.monotonic()

    def tick(self, *, owning: bool) -> None:
        """Record that the loop runs.

        Raises FrozenError after it was blocked, LeaseLostError when no commit succeeded for too long.
        """
        now = self._clock.monotonic()
        if now - self._ticked_at > self.lease_s:
            raise FrozenError(
                f"the process was paused for {now - self._ticked_at:.1f} s; other workers may own its "
                "partitions by now, so it ends"
            )
        self._ticked_at = now
        if owning and now - self._renewed_at > self.lease_s:
            raise LeaseLostError(
                f"nothing could be committed for {now - self._renewed_at:.1f} s; other workers may own its "
                "partitions by now"
            )

    def renew(self, at: float) -> None:
        """Record that everything acknowledged was committed at that time, or that there was nothing to commit."""
        self._renewed_at = at

    def confirm(self, at: float) -> None:
        """Record that the group has confirmed, later than at that time, that this worker is a member."""
        self._renewed_at = self._confirmed_at = at

    def confirmed_within(self, seconds: float, now: float) -> bool:
        """Return whether the last confirmation is no older."""
        return now - self._confirmed_at <= seconds

    def confirmed_since(self, at: float) -> bool:
        """Return whether the group has confirmed the membership when asked later than at that time."""
        return self._confirmed_at > at

    @property
    def held(self) -> bool:
        """Whether no other worker can own these partitions yet: reads from the tables are not stale."""
        now = self._clock.monotonic()
        return now - self._ticked_at <= self.lease_s and now - self._confirmed_at <= self.lease_s

    @property
    def renewed_age_s(self) -> float:
        """Seconds since `renew`."""
        return self._clock.monotonic() - self._renewed_at
