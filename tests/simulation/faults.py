"""What can go wrong in a history, by the names that plans have for it."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from simulation.disk import Disk
from simulation.loop import Process
from simulation.plan import SESSION_S, Fault
from simulation.program import CHANGELOGS, COMPACTED, PREFIX, Program


class Slot:
    """A place for a worker: its directory, and whichever process runs in it."""

    def __init__(self, name: str, disk: Disk) -> None:
        self.name, self.disk = name, disk
        self.wanted = True
        self.process: Process | None = None
        self.program: Program | None = None
        self.starts = 0
        #: Steps after which its next process is killed.
        self.steps_left: int | None = None
        #: What happens to its directory before its next process starts.
        self.before_start: list[Callable[[], None]] = []

    @property
    def running(self) -> Process | None:
        """The process, if it has not ended."""
        return self.process if self.process is not None and self.process.alive else None


Strike = Callable[[Any, Slot, Fault], None]

#: Each is called with the world, the worker's slot, and the fault.
STRIKES: dict[str, Strike] = {}


def strike(kind: str) -> Callable[[Strike], Strike]:
    """Register what a kind of fault does."""

    def keep(function: Strike) -> Strike:
        STRIKES[kind] = function
        return function

    return keep


@strike("kill")
def _kill(_: Any, slot: Slot, __: Fault) -> None:
    if slot.running:
        slot.running.kill()


@strike("kill all")
def _kill_all(world: Any, _: Slot, fault: Fault) -> None:
    for slot in world.slots:
        _kill(world, slot, fault)


@strike("kill at a write")
@strike("kill at a tombstone")
def _kill_at_write(_: Any, slot: Slot, fault: Fault) -> None:
    if slot.running:
        slot.running.writes_left = int(fault.amount)
        slot.running.tombstones_only = fault.kind == "kill at a tombstone"


@strike("kill after a write")
@strike("kill after a tombstone")
def _kill_after_write(world: Any, slot: Slot, fault: Fault) -> None:
    """Let what was written be on its way when the process ends."""
    if slot.running:
        slot.running.writes_left = int(fault.amount)
        slot.running.tombstones_only = fault.kind == "kill after a tombstone"
        slot.running.last_words_s = world.random.random() * (world.plan.latency_s * 2 + 0.007)


@strike("kill at a step")
def _kill_at_step(_: Any, slot: Slot, fault: Fault) -> None:
    if slot.running:
        slot.running.steps_left = int(fault.amount)


@strike("kill as it starts")
def _kill_as_it_starts(_: Any, slot: Slot, fault: Fault) -> None:
    """Kill it, and its successor once more, perhaps while that restores."""
    if slot.running:
        slot.steps_left = int(fault.amount)
        slot.running.kill()


@strike("pause")
@strike("long pause")
def _pause(world: Any, slot: Slot, fault: Fault) -> None:
    if slot.running:
        process = slot.running
        process.pause()
        world.loop.outside(fault.amount, process.resume)


@strike("late")
def _hold(world: Any, slot: Slot, fault: Fault) -> None:
    """Keep what a worker sends on its way."""
    for producer in world.cluster.producers:
        if slot.running and producer.process is slot.running:
            producer.hold()
            world.loop.outside(fault.amount, producer.release)


@strike("late and killed")
def _hold_and_kill(world: Any, slot: Slot, fault: Fault) -> None:
    if slot.running:
        _hold(world, slot, fault)
        world.loop.outside(world.random.random() * SESSION_S * 0.5, slot.running.kill)


@strike("add")
def _add(world: Any, _: Slot, __: Fault) -> None:
    world.add()


@strike("remove")
def _remove(world: Any, slot: Slot, __: Fault) -> None:
    if slot.running and sum(one.wanted for one in world.slots) > 1:
        world.remove(slot)


@strike("lose directory")
def _lose(_: Any, slot: Slot, fault: Fault) -> None:
    """Let it start with an empty directory, and perhaps kill it once more while it restores that."""
    if slot.running:
        slot.before_start.append(slot.disk.lose)
        if fault.amount:
            slot.steps_left = int(fault.amount)
        slot.running.kill()


@strike("copy directory")
def _copy(world: Any, slot: Slot, fault: Fault) -> None:
    if slot.running:
        other = world.slots[fault.other % len(world.slots)]
        slot.before_start.append(lambda: slot.disk.copy_of(other.disk))
        slot.running.kill()


@strike("away")
def _away(world: Any, _: Slot, fault: Fault) -> None:
    """Let a partition be without a leader."""
    topic = world.random.choice(sorted(world.cluster.topics))
    world.cluster.away((topic, fault.other % world.plan.partitions), fault.amount)


@strike("coordinator away")
def _coordinator_away(world: Any, _: Slot, fault: Fault) -> None:
    world.group.away_until = world.loop.now + fault.amount


@strike("registry away")
def _registry_away(world: Any, _: Slot, fault: Fault) -> None:
    world.registry.available = False

    def back() -> None:
        world.registry.available = True

    world.loop.outside(fault.amount, back)


def _logs(world: Any, names: Iterable[str]) -> Iterator[Any]:
    for name in names:
        yield from world.cluster.topics.get(PREFIX + name, ())


@strike("compact")
def _compact(world: Any, _: Slot, __: Fault) -> None:
    for log in _logs(world, COMPACTED):
        log.compact(log.end)


@strike("empty changelog")
def _empty_one(world: Any, _: Slot, fault: Fault) -> None:
    """Delete a part of what is in one partition of a changelog."""
    number, table = divmod(fault.other, len(CHANGELOGS))
    logs = world.cluster.topics.get(PREFIX + CHANGELOGS[table])
    if logs is not None:
        log = logs[number % len(logs)]
        log.delete(log.start + round(fault.amount * (log.end - log.start)))


@strike("empty changelogs")
def _empty_all(world: Any, _: Slot, __: Fault) -> None:
    for log in _logs(world, CHANGELOGS):
        log.delete(log.end)


@strike("empty while read")
def _empty_while_read(world: Any, _: Slot, __: Fault) -> None:
    """Delete all of each partition of a changelog as soon as somebody has read a part of it."""
    for log in _logs(world, CHANGELOGS):
        log.doomed = True


#: Seconds that a record of a changelog certainly stays: many sessions, as the hour of real ones is.
_COMPACTION_LAG_S = 5 * SESSION_S


@strike("compact changelogs")
def _compact_changelogs(world: Any, _: Slot, __: Fault) -> None:
    """Compact what is in the changelogs now, once it is old enough."""
    for name in CHANGELOGS:
        for log in world.cluster.topics.get(PREFIX + name, ()):
            world.loop.outside(_COMPACTION_LAG_S, log.compact, log.end)
