"""Commits: positions are committed once all writes before them are acknowledged, with a note for the successor."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from openbsp.log import event
from streams.engine.damage import TOPIC
from streams.engine.guard import FIRST, Guard, note
from streams.engine.layout import NOTED
from streams.engine.lease import Lease
from streams.engine.membership import Membership
from streams.engine.outside import Clock
from streams.engine.poison import Suspects
from streams.engine.writer import Writer

logger = logging.getLogger(__name__)

At = tuple[str, int]
Ends = Mapping[At, int]


class Checkpoints:
    """Commits for one worker."""

    def __init__(  # noqa: PLR0917 what a commit is made of
        self,
        membership: Callable[[], Membership],
        writer: Writer,
        guard: Guard,
        lease: Lease,
        clock: Clock,
        noted: Mapping[str, Mapping[str, str]],
        partitions: int,
        suspects: Suspects,
    ) -> None:
        """Start with nothing committed.

        `noted` has for each source (topic) the guarded logs, by name and topic, whose verified ends are committed in
        the note of its positions. So are the number of `partitions`, and the ranges in doubt.
        """
        self._partitions = partitions
        self._suspects = suspects
        self._membership = membership
        self._writer = writer
        self._guard = guard
        self._lease = lease
        self._clock = clock
        self._noted = noted
        #: The positions with which the present assignment began; empty while nothing is owned.
        self._found: dict[At, int] = {}
        self._firsts: dict[At, int] = {}
        #: What distinguishes the sources and guarded logs of this assignment from former topics of the same names.
        self.identities: dict[str, int] = {}
        #: The last committed positions and notes of this assignment.
        self._committed: tuple[Ends, Mapping[At, str]] = ({}, {})
        self._committing = asyncio.Lock()

    def begin(self, positions: Ends, firsts: Ends, identities: Mapping[str, int]) -> None:
        """Start with the positions of a takeover; `firsts` are the first offsets of the guarded logs.

        `identities` distinguish the sources and guarded logs (topics) from former ones of the same names.
        """
        self._found = dict(positions)
        self._firsts = dict(firsts)
        self.identities = dict(identities)

    def end(self) -> None:
        """Nothing is owned any more."""
        self._found = {}
        self.identities = {}
        self._committed = ({}, {})

    def replaced(self, identities: Mapping[str, int]) -> list[str]:
        """Return the topics that are others now than in this assignment, by what distinguishes them.

        One of which no broker had told when the partitions were assigned is known from now on.
        """
        return [topic for topic, told in identities.items() if self.identities.setdefault(topic, told) != told]

    def acknowledged(self, topic: str, partition: int) -> int:
        """Return the offset of an owned source up to which (exclusive) all effects of its records are acknowledged."""
        at = (topic, partition)
        return max(self._writer.acknowledged.get(at, 0), self._found.get(at, 0))

    async def commit(self) -> bool:
        """Commit up to where everything is acknowledged, with the verified ends of the guarded logs in the note.

        Returns whether the coordinator has confirmed, now or a moment ago, that this worker is a member; with nothing
        owned, that it has answered.
        """
        async with self._committing:
            asked_at = self._clock.monotonic()
            positions = self._found | self._writer.acknowledged
            notes = self._notes(self._guard.verified(), positions)
            if self._committed == (positions, notes):
                # A successor would lack nothing. Readers need the proof of membership all the same.
                self._lease.renew(asked_at)
                if self._lease.confirmed_within(self._lease.lease_s / 4, asked_at):
                    return True
            membership, within_s = self._membership(), self._lease.lease_s / 2
            if positions:
                problem = await membership.commit_positions(positions, notes, within_s)
            else:
                problem = await membership.ask_coordinator(within_s)
            if problem is not None:
                logger.warning("offsets not committed, retrying: %s", problem, extra=event("checkpoint.not_committed"))
                return False
            self._lease.confirm(asked_at)
            self._committed = (positions, notes)
            return True

    def _notes(self, verified: Ends, positions: Iterable[At]) -> dict[At, str]:
        notes = {}
        for at in positions:
            topic, partition = at
            noted = {NOTED: self._partitions, **self._suspects.note(at)}
            if topic in self.identities:
                noted[TOPIC] = self.identities[topic]
            for name, log in self._noted.get(topic, {}).items():
                noted[name] = verified[log, partition]
                if (log, partition) in self._firsts:
                    noted[name + FIRST] = self._firsts[log, partition]
                if log in self.identities:
                    noted[name + TOPIC] = self.identities[log]
            notes[at] = note(noted)
        return notes
