"""Runs a history: real workers on simulated servers, a supervisor that starts them again, and a judge in the end."""

import asyncio
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from simulation.coordinator import Group, Member
from simulation.disk import Disk
from simulation.faults import STRIKES, Slot
from simulation.log import Cluster, Network, partition_of
from simulation.loop import Clock, Process, SimulatedLoop
from simulation.outside import Threads
from simulation.plan import SESSION_S, Arrival, Fault, Plan
from simulation.program import CHANGELOGS, FORGIVEN, PREFIX, Outside, Program
from simulation.subjects import SUBJECTS, Subject
from simulation.views import Reads
from streams.engine.guard import At, noted

#: Seconds after the last fault in which everything has to be as it should.
CALM_S = 60.0
_LOOK_S = 0.25


@dataclass
class Outcome:
    """What came of a history. `wrong` is empty if all is as it should be."""

    wrong: list[str] = field(default_factory=list)
    #: The same for every run of a plan.
    digest: int = 0
    steps: int = 0
    seconds: float = 0.0
    #: How often each kind of end came to a worker.
    ends: Counter[str] = field(default_factory=Counter)
    foreign: int = 0


class World:
    """Everything of one history."""

    def __init__(self, plan: Plan, subject: Subject) -> None:
        self.plan = plan
        self.subject = subject
        self.outcome = Outcome()
        self.loop = SimulatedLoop()
        self.random = Random(f"world {plan.seed}")
        self.network = Network(self.loop, Random(f"network {plan.seed}"))
        self.network.latency_s = plan.latency_s
        self.network.hiccups, self.network.congestion = plan.hiccups, plan.congestion
        self.network.refusals, self.network.early_ends = plan.refusals, plan.early_ends
        self.network.fetch_records = plan.fetch_records
        self.cluster = Cluster(self.network)
        self.cluster.appended = self._appended
        self.cluster.crowded = self._crowded
        for name in self.subject.topics:
            self.cluster.create(PREFIX + name, plan.partitions)
        self.registry = self.subject.registry
        self.sources = [PREFIX + name for name in self.subject.sources]
        self._came: list[Arrival] = []
        self.group = Group(self.network, self.sources, plan.partitions, SESSION_S)
        self.group.on_commit = self._committed
        self.group.with_standbys = plan.standbys
        self.slots: list[Slot] = []
        self._programs: list[Program] = []
        self.reads = Reads(plan, self.loop, self.outcome.wrong, self._awake, self._read_of_messages)

    def run(self) -> Outcome:
        """Let it happen."""
        plan, loop, outcome = self.plan, self.loop, self.outcome
        try:
            for _ in range(plan.workers):
                self.add()
            for arrival in plan.arrivals:
                loop.outside(arrival.at_s, self.arrive, arrival)
            for fault in plan.faults:
                loop.outside(fault.at_s, self.strike, fault)
            self.reads.start()
            loop.run_until_complete(asyncio.sleep(plan.end_s + 0.01))
            self.calm()
            self.expect("in the end")
            if not outcome.wrong:
                self.inherit()
            if not outcome.wrong:
                outcome.wrong += self.subject.finished(self.cluster, plan)
            outcome.wrong += [f"a callback raised {error!r}" for error in loop.faults]
        finally:
            outcome.steps, outcome.seconds = loop.steps, loop.now
            loop.shut()
            for program in self._programs:
                program.release()
        return outcome

    # What happens

    def arrive(self, arrival: Arrival) -> None:
        """Let an event come to its topic, as the bridge writes it."""
        key, value, headers = self.subject.record(arrival)
        log = self.cluster.log(PREFIX + arrival.topic, partition_of(key or b"", self.plan.partitions))
        self.reads.came(arrival, log.end)
        log.append(key, value, headers, "bridge")
        self._came.append(arrival)

    def strike(self, fault: Fault) -> None:
        """Let something go wrong."""
        STRIKES[fault.kind](self, self.slots[fault.worker % len(self.slots)], fault)

    def add(self) -> Slot:
        """Have one more worker."""
        name = f"w{len(self.slots)}"
        slot = Slot(name, Disk(Random(f"disk {self.plan.seed} {name}")))
        self.slots.append(slot)
        self.loop.outside(self.network.delay(), self.start, slot)
        return slot

    def remove(self, slot: Slot) -> None:
        """End a worker in order, and for good."""
        slot.wanted = False
        process, program = slot.process, slot.program
        if process is not None and program is not None and process.alive:
            stopping = process.spawn(program.stop())
            stopping.add_done_callback(lambda task: self._stopped(process, task))

    def start(self, slot: Slot) -> None:
        """Start a worker's process, unless one is there."""
        if not slot.wanted or (slot.process is not None and slot.process.alive):
            return
        slot.starts += 1
        for prepare in slot.before_start:
            prepare()
        slot.before_start.clear()
        process = slot.process = Process(self.loop, f"{slot.name}.{slot.starts}")
        process.steps_left, slot.steps_left = slot.steps_left, None
        process.killed.append(lambda: self._killed(slot))
        process.run(self._start, slot, process)

    def _start(self, slot: Slot, process: Process) -> None:
        outside = Outside(self.cluster, Clock(self.loop), Threads(self.network))  # type: ignore[arg-type]
        program = slot.program = self.subject.program(
            outside,
            Member(
                self.group,
                f"http://{process.name}",
                f"{slot.name}.{slot.disk.number}" if self.plan.durable else None,
            ),
            self.plan.partitions,
            self.registry,
            slot.disk.open if self.plan.durable else None,
            coalesce_ms=self.plan.coalesce_ms,
            turn_s=self.plan.turn_s,
            late_records=self.plan.late_records,
            session_timeout_s=SESSION_S,
            commit_interval_ms=self.plan.commit_ms,
            idle=self.plan.idle,
            batch_records=self.random.choice([3, 20, 5_000]),
        )

        def failed(failure: Any) -> None:
            error = failure.result()
            if not process.alive:
                return
            self.outcome.ends[type(error).__name__] += 1
            if not isinstance(error, FORGIVEN):
                self.outcome.wrong.append(f"{process.name} ended with {error!r}")
            process.spawn(program.prepare_end(error)).add_done_callback(prepared)

        def prepared(ending: Any) -> None:
            if not ending.cancelled() and ending.exception() is not None:
                self.outcome.wrong.append(f"{process.name} did not prepare its end: {ending.exception()!r}")
            process.kill()

        self._programs.append(program)
        program.failure.add_done_callback(failed)
        self.reads.attach(process, program)
        program.start()

    def _awake(self) -> Iterator[tuple[Process, Program]]:
        for slot in self.slots:
            if slot.running and not slot.running.paused and slot.program is not None:
                yield slot.running, slot.program

    def _read_of_messages(self, partition: int) -> int:
        committed = self.group.committed.get((PREFIX + "messages", partition))
        return 0 if committed is None else committed.offset

    def _killed(self, slot: Slot) -> None:
        slot.disk.crash()
        self.loop.outside(self.random.random() * SESSION_S, self.start, slot)

    def _stopped(self, process: Process, task: Any) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.outcome.ends[type(task.exception()).__name__] += 1
        process.killed.clear()
        process.alive = False
        for producer in self.cluster.producers:
            if producer.process is process:
                producer.die()

    def _appended(self, topic: str, partition: int, record: Any) -> None:
        self._note(topic, partition, record.offset, record.key, record.writer)

    def _crowded(self, topic: str, partition: int, writer: str) -> None:
        if topic.removeprefix(PREFIX) in CHANGELOGS:
            self.outcome.wrong.append(f"{writer} did not wait for its first batch in {topic}[{partition}]")

    def _committed(self, at: At, before: int, offset: int, notes: Mapping[At, str]) -> None:
        self._note(*at, offset)
        # Who takes over after late partitions does so in the same generation, and may build a table once more then.
        if offset < before and (offset or not _builds_again(at[1], notes)):
            self.outcome.wrong.append(f"a position of {at} went back from {before} to {offset}")

    def _note(self, *what: Any) -> None:
        self.outcome.digest = zlib.crc32(repr((round(self.loop.now, 6), *what)).encode(), self.outcome.digest)

    # What should have come of it

    def calm(self) -> None:
        """Let everything be well again."""
        self.registry.available = True
        for slot in self.slots:
            if slot.process is not None:
                slot.process.writes_left = slot.process.steps_left = slot.steps_left = None
                slot.process.resume()
        for producer in self.cluster.producers:
            producer.release()
        for logs in self.cluster.topics.values():
            for log in logs:
                log.doomed = False

    def lag(self) -> dict[tuple[str, int], int]:
        """Return how many records of each source partition are not committed, only of those that have some."""
        lag = {}
        for topic in self.sources:
            for number, log in enumerate(self.cluster.topics[topic]):
                committed = self.group.committed.get((topic, number))
                behind = log.end - (0 if committed is None else committed.offset)
                if behind:
                    lag[topic, number] = behind
        return lag

    def expect(self, when: str) -> None:
        """Wait until everything is as it should be; note what is not."""
        wanted = self.subject.expected(self._came, self.plan)
        logs = [log for name in self.subject.judged for log in self.cluster.topics[PREFIX + name]]
        looked_at: list[int] | None = None
        wrong, unread = ["nothing was committed"], list[str]()
        deadline = self.loop.now + CALM_S
        while True:
            if not self.lag():
                ends = [log.end for log in logs]
                if looked_at != ends:
                    looked_at, wrong = ends, self.subject.differences(self.cluster, wanted, self.plan)
                unread = [] if wrong else self.subject.unread(self.reads, wanted)
                if not (wrong or unread):
                    return
            if self.loop.now > deadline:
                lag = self.lag()
                wrong += [f"not committed: {lag}"] if lag else unread
                self.outcome.wrong += [f"{when}: {line}" for line in wrong]
                return
            self.loop.run_until_complete(asyncio.sleep(_LOOK_S))

    def inherit(self) -> None:
        """Let a worker that has nothing but the changelogs write everything again: it must know the same."""
        for slot in self.slots:
            self.remove(slot)
        self.loop.until(lambda: not self.group.owners, 30, 0.1)
        if not self.plan.late:
            for name in CHANGELOGS:
                for log in self.cluster.topics.get(PREFIX + name, ()):
                    log.compact(log.end)
                    log.forget_tombstones()
        heir = self.add()
        for arrival in self.subject.again(self.plan):
            self.arrive(arrival)
        self.expect(f"of {heir.name}, the heir")


def _builds_again(partition: int, notes: Mapping[At, str]) -> bool:
    """Return whether a commit says that nothing of a changelog is verified: its table is read from the sources."""
    ends = [noted(note) for (_, number), note in notes.items() if number == partition]
    return any(end.get(name) == 0 for end in ends for name in CHANGELOGS)


def run(plan: Plan, subject: str = "join") -> Outcome:
    """Run a history from its beginning to its judgement."""
    return World(plan, SUBJECTS[subject]()).run()
