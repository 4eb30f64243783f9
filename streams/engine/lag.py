"""How far a worker is behind its sources, and whether it makes progress at all."""

import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from confluent_kafka import KafkaException

from openbsp.log import event
from streams.engine.end_offsets import Ends
from streams.engine.outside import Clock

logger = logging.getLogger(__name__)

#: Seconds between two measurements.
LOOK_EVERY_S = 5.0

At = tuple[str, int]


class Reading(Protocol):
    """How far an assignment is."""

    def position(self, topic: str, partition: int) -> int:
        """Return the offset up to which (exclusive) a source partition is in the tables."""


class _Standing(NamedTuple):
    position: int
    since: float


class Lag:
    """Compares positions with ends. Ends that the broker does not return count as unchanged."""

    def __init__(self, ends: Ends, stalled_after_s: float, clock: Clock | None = None) -> None:
        """Start without a measurement; a partition is stalled after so long without progress while records wait."""
        self._ends = ends
        self._clock = clock or Clock()
        self._stalled_after_s = stalled_after_s
        self._reading: Reading | None = None
        self._known: dict[At, int] = {}
        self._standing: dict[At, _Standing] = {}

    def follow(self, reading: Reading | None, sources: Iterable[At] = ()) -> None:
        """Watch the partitions of a new assignment, and drop those of the former one."""
        self._reading = reading
        self._known = {}
        now = self._clock.monotonic()
        self._standing = {at: _Standing(reading.position(*at), now) for at in sources} if reading is not None else {}

    async def look(self) -> None:
        """Read the ends once."""
        reading = self._reading
        try:
            ends = await self._ends.of(self._standing, LOOK_EVERY_S)
        except KafkaException as error:
            logger.warning("lag not measured: no end offsets: %s", error.args[0], extra=event("lag.not_measured"))
            ends = self._known
        if self._reading is reading:
            self._known = ends
            self._note(self._clock.monotonic())

    def _note(self, now: float) -> None:
        behind = self.behind()
        for at, standing in self._standing.items():
            position = self._position(at)
            if position != standing.position or not behind.get(at):
                self._standing[at] = _Standing(position, now)

    def behind(self) -> Mapping[At, int]:
        """Return the lag of each owned source partition, in records, as far as its end is known."""
        return {at: max(0, end - self._position(at)) for at, end in self._known.items()}

    def stalled(self) -> frozenset[int]:
        """Return the partitions where records have waited for too long without any progress."""
        behind = self.behind()
        longest_ago = self._clock.monotonic() - self._stalled_after_s
        return frozenset(
            at[1]
            for at, standing in self._standing.items()
            if behind.get(at) and standing.since < longest_ago and self._position(at) == standing.position
        )

    def _position(self, at: At) -> int:
        return 0 if self._reading is None else self._reading.position(*at)
