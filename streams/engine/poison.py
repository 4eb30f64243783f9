"""Which events may have ended a worker: suspects. One that ended two workers as the only one in progress is poison.

A dying worker can write nothing, so events in progress are noted before, with the group's positions; the next owner
reads the note. In the usual case that would cost too much, so an owner works in three ways:

- As usual, with only the note that it runs (`_RUNNING`), which a clean end removes.
- If its predecessor crashed: in slices, each noted before it is processed and completed (written, acknowledged,
  committed) before the next one.
- If it ended in a slice: the events of that slice one by one. Ends with a single event in progress are counted.

So an operator who kills workers, at the same place even, sets nothing aside, unless one and the same event is hit alone
twice.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from streams.engine.guard import noted
from streams.engine.membership import Committed
from streams.engine.source import Record

At = tuple[str, int]

#: Events in a slice while there is doubt.
SLICE = 250
#: Workers that one event has to end before it is set aside.
DEATHS = 2

_RUNNING, _FROM, _TO, _ALONE, _DEATHS = "@running", "@from", "@to", "@alone", "@deaths"


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets of a partition, from `start` to `end` (exclusive), one of which may have ended a worker.

    `deaths` is how many workers have ended with the event at `start` alone in progress.
    """

    start: int
    end: int
    deaths: int = 0


def range_of(note: Mapping[str, int], position: int) -> Range | None:
    """Return the range in doubt from a note, None if there is nothing after the position."""
    start, end = note.get(_FROM, 0), note.get(_TO, 0)
    if end <= position:
        return None
    if _RUNNING not in note:
        # It shut down cleanly, so no event has ended it; earlier doubts remain.
        return Range(start, end)
    return Range(start, end, note[_ALONE] + 1 if _ALONE in note else note.get(_DEATHS, 0))


class Suspects:
    """The ranges in doubt of one assignment's partitions."""

    def __init__(self, bound: int) -> None:
        """Start without doubt; after a crash, up to `bound` events of a partition may have caused it."""
        self._bound = bound
        self._running = False
        self._ranges: dict[At, Range] = {}
        #: Partitions whose last owner crashed, and the offset that it may have reached.
        self._careful: dict[At, int] = {}
        self._in_work: dict[At, dict[str, int]] = {}

    def begin(self, committed: Mapping[At, Committed], positions: Mapping[At, int], ends: Mapping[At, int]) -> None:
        """Take over the predecessors' notes; reading begins at `positions`, the sources end at `ends`."""
        self.end()
        self._running = True
        for at, position in positions.items():
            note = noted(committed[at].note) if at in committed else {}
            found = range_of(note, position)
            if found is not None:
                self._ranges[at] = found
            if found is not None or _RUNNING in note:
                self._careful[at] = min(ends[at], position + self._bound)
            self._pass(at, position)

    def rest(self) -> None:
        """Record a clean end: nothing is in progress any more."""
        self._running = False
        self._in_work = {}

    def end(self) -> None:
        """Nothing is owned any more."""
        self.rest()
        self._ranges, self._careful = {}, {}

    @property
    def careful(self) -> bool:
        """Whether anything is in doubt, so that events in progress have to be noted."""
        return bool(self._careful)

    def note(self, at: At) -> dict[str, int]:
        """Return the current note of a partition."""
        note = {_RUNNING: 1} if self._running else {}
        doubtful = self._ranges.get(at)
        if at in self._in_work:
            note |= self._in_work[at]
        elif doubtful is not None:
            note |= {_FROM: doubtful.start, _TO: doubtful.end}
            if self._running:
                note[_DEATHS] = doubtful.deaths
        return note

    def parts(self, records: Sequence[Record]) -> Iterator[tuple[list[Record], bool]]:
        """Yield records in slices, those in a range in doubt separately; and whether they are in one."""
        some: list[Record] = []
        for record in records:
            doubtful = self._ranges.get((record.topic, record.partition))
            alone = doubtful is not None and doubtful.start <= record.offset < doubtful.end
            if some and (alone or len(some) == SLICE):
                yield some, False
                some = []
            if alone:
                yield [record], True
            else:
                some.append(record)
        if some:
            yield some, False

    def is_poison(self, record: Record) -> bool:
        """Return whether an event has ended as many workers as it may."""
        doubtful = self._ranges.get((record.topic, record.partition))
        return doubtful is not None and doubtful.start == record.offset and doubtful.deaths >= DEATHS

    def take(self, records: Iterable[Record], *, alone: bool) -> None:
        """Note these as in progress."""
        self._in_work = {}
        for record in records:
            at = record.topic, record.partition
            work = self._in_work.setdefault(at, {_FROM: record.offset})
            work[_TO] = record.offset + 1
            if alone:
                doubtful = self._ranges[at]
                if doubtful.start != record.offset:
                    doubtful = self._ranges[at] = replace(doubtful, start=record.offset, deaths=0)
                work |= {_TO: doubtful.end, _ALONE: doubtful.deaths}

    def done(self, records: Iterable[Record]) -> None:
        """Record that none of these is in progress any more: all that they caused is acknowledged."""
        self._in_work = {}
        for record in records:
            self._pass((record.topic, record.partition), record.offset + 1)

    def absolve(self) -> None:
        """Clear the events in progress of the end that is about to come."""
        self._in_work = {}

    def _pass(self, at: At, position: int) -> None:
        doubtful = self._ranges.get(at)
        if doubtful is not None and doubtful.end <= position:
            del self._ranges[at]
        elif doubtful is not None and doubtful.start < position:
            self._ranges[at] = Range(position, doubtful.end)
        if at in self._careful and at not in self._ranges and self._careful[at] <= position:
            del self._careful[at]
