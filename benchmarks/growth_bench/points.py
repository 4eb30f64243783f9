"""One point: so many conversations, workers and partitions; how fast they are joined, and how workers start again."""

import shutil
import time
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

import psutil
from join.cluster import CHANGELOGS, Cluster
from join.contestants import Ours
from join.race import GIVE_UP_S, run
from join.workload import STATUSES, Workload
from support.machine import cpu_s
from support.say import say

_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class What:
    """What is joined at a point, and by whom; each status after a message's first is an event of its own."""

    conversations: int
    workers: int
    partitions: int
    messages: int = 2
    statuses: int = len(STATUSES)
    #: One in so many conversations has its row.
    row_of_each: int = 1

    def __str__(self) -> str:
        """Say it in a line."""
        rows = "" if self.row_of_each == 1 else f", a row of one in {self.row_of_each}"
        each = f"{self.messages} x {self.statuses} events of messages each{rows}"
        return f"{self.conversations:,} conversations ({each}), {self.workers} workers, {self.partitions} partitions"


@dataclass(frozen=True, kw_only=True)
class Point(What):
    """What one run of it has shown."""

    events: int
    per_second: float
    #: Processor time of the workers, and of the broker, for each event; the starts are in it.
    cpu_s: float
    broker_s: float
    peak_bytes: int
    #: Records in the outputs.
    written: int
    #: Seconds until all workers are ready again with their data directories, and their resident memory then.
    restart_s: float
    resident_bytes: int


@dataclass(frozen=True)
class Start:
    """A start of workers with full tables: seconds until all are ready, and their resident memory then."""

    how: str
    seconds: float
    resident_bytes: int


@dataclass(frozen=True)
class Tables:
    """The tables of a point: records and bytes of their changelogs, and the starts of its workers."""

    conversations: int
    messages: int
    workers: int
    changelog_records: int
    changelog_bytes: int
    #: Seconds of a bare consumer over the changelogs.
    reading_s: float
    starts: list[Start]


class Growth:
    """Measures points on one broker. The input of the latest point stays there, for points that have the same."""

    def __init__(self, cluster: Cluster, broker: psutil.Process, directory: Path) -> None:
        self._cluster = cluster
        self._broker = broker
        self._directory = directory
        self._workload = Workload(())
        self._latest: What | None = None

    def point(self, what: What, give_up_s: float = GIVE_UP_S) -> Point:
        """Join it with empty tables (RocksDB), and judge what came out. Raises NotDoneError, StartError.

        Starts and joins take no longer than `give_up_s` each.
        """
        self._fill(what)
        say(str(what))
        before_s = cpu_s(self._broker)
        name, directory = self._place(what)
        joined = Ours(self._cluster, directory, name, "rocksdb", what.workers)
        result = run(self._cluster, self._workload, joined, give_up_s)
        broker_s = cpu_s(self._broker) - before_s
        again = self._start(what, "rocksdb", "RocksDB, data directory there", give_up_s)
        return Point(
            **asdict(what),
            events=result.events,
            per_second=result.rate,
            cpu_s=result.cpu_seconds / result.events,
            broker_s=broker_s / result.events,
            peak_bytes=result.peak_bytes,
            written=result.written,
            restart_s=again.seconds,
            resident_bytes=again.resident_bytes,
        )

    def tables(self, what: What, give_up_s: float = GIVE_UP_S) -> Tables:
        """Start workers again and again over the tables of the latest point, which was this. Raises StartError."""
        begin = time.perf_counter()
        records, changelog_bytes = self._cluster.size(CHANGELOGS)
        reading_s = time.perf_counter() - begin
        starts = []
        for store, how in (("rocksdb", "RocksDB, data directory lost"), ("memory", "in memory")):
            shutil.rmtree(self._place(what)[1])
            starts.append(self._start(what, store, how, give_up_s))
        messages = what.conversations * what.messages
        return Tables(what.conversations, messages, what.workers, records, changelog_bytes, reading_s, starts)

    def _fill(self, what: What) -> None:
        there = self._latest
        self._latest = what
        if there is not None and replace(there, workers=what.workers) == what:
            return
        self._cluster = replace(self._cluster, partitions=what.partitions)
        self._cluster.reset()
        if there is None or replace(there, workers=what.workers, partitions=what.partitions) != what:
            self._workload = Workload.generate(
                what.conversations,
                messages=what.messages,
                statuses=what.statuses,
                row_of_each=what.row_of_each,
            )
        say(f"writing {len(self._workload):,} events to {what.partitions} partitions")
        self._cluster.fill(self._workload.events())

    def _place(self, what: What) -> tuple[str, Path]:
        """Return the group's name, and the directory of its workers."""
        name = "-".join(map(str, astuple(what)))
        return name, self._directory / name

    def _start(self, what: What, store: str, how: str, give_up_s: float) -> Start:
        group, directory = self._place(what)
        workers = Ours(self._cluster, directory, group, store, what.workers)
        try:
            begin = time.perf_counter()
            workers.launch()
            workers.wait_ready(give_up_s)
            seconds = time.perf_counter() - begin
            resident = sum(psutil.Process(process.pid).memory_info().rss for process in workers.processes)
        finally:
            workers.stop()
        say(f"{how}: {seconds:.1f} s, {resident / _MIB:.0f} MiB")
        return Start(how, seconds, resident)
