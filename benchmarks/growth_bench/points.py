"""One point: so many conversations, workers and partitions; how fast they are joined, and how a worker starts again."""

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from join.cluster import INPUTS, OUTPUTS, PREFIX, Cluster
from join.contestants import Ours
from join.race import run
from join.workload import Workload
from support.say import say

from avro.catalogue import topic_name

CHANGELOGS = tuple(
    topic_name(PREFIX, name) for name in ("streams-messages-changelog", "streams-conversations-changelog")
)
_READY_S = 900.0
_MIB = 2**20


@dataclass(frozen=True)
class Point:
    """What a point is, and what one run of it has shown."""

    conversations: int
    workers: int
    partitions: int
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
    """The tables of a point: records and bytes of their changelogs, and the starts of one worker."""

    conversations: int
    messages: int
    changelog_records: int
    changelog_bytes: int
    #: Seconds of a bare consumer over the changelogs.
    reading_s: float
    starts: list[Start]


class Growth:
    """Measures points on one broker. The input of the latest number of conversations and partitions stays there."""

    def __init__(self, cluster: Cluster, broker: psutil.Process, directory: Path, messages: int) -> None:
        """Each conversation has so many messages."""
        self._cluster = cluster
        self._broker = broker
        self._directory = directory
        self._messages = messages
        self._workload = Workload(())

    def point(self, conversations: int, workers: int, partitions: int) -> Point:
        """Join so many conversations with empty tables (RocksDB), and judge what came out. Raises NotDoneError."""
        if conversations != len(self._workload.conversations) or partitions != self._cluster.partitions:
            self._fill(conversations, partitions)
        name = f"{conversations}-{workers}-{partitions}"
        say(f"{conversations:,} conversations, {workers} workers, {partitions} partitions")
        before_s = sum(self._broker.cpu_times()[:2])
        directory = self._directory / name
        result = run(self._cluster, self._workload, Ours(self._cluster, directory, name, "rocksdb", workers))
        broker_s = sum(self._broker.cpu_times()[:2]) - before_s
        again = self._start(name, "rocksdb", directory, "RocksDB, data directory there", workers)
        return Point(
            conversations,
            workers,
            partitions,
            result.events,
            result.rate,
            result.cpu_seconds / result.events,
            broker_s / result.events,
            result.peak_bytes,
            result.written,
            again.seconds,
            again.resident_bytes,
        )

    def tables(self) -> Tables:
        """Start a worker again and again over the tables of the latest point, which had one."""
        conversations = len(self._workload.conversations)
        name = f"{conversations}-1-{self._cluster.partitions}"
        begin = time.perf_counter()
        records, changelog_bytes = self._size(CHANGELOGS)
        reading_s = time.perf_counter() - begin
        kept = self._directory / name
        starts = []
        for store, how in (("rocksdb", "RocksDB, data directory lost"), ("memory", "in memory")):
            shutil.rmtree(kept)
            starts.append(self._start(name, store, kept, how))
        return Tables(conversations, conversations * self._messages, records, changelog_bytes, reading_s, starts)

    def bytes_per_event(self) -> tuple[float, float]:
        """Return the bytes in the inputs and in the outputs of the latest point, for each of its events."""
        return tuple(self._size(topics)[1] / len(self._workload) for topics in (INPUTS, OUTPUTS))

    def _fill(self, conversations: int, partitions: int) -> None:
        self._cluster = replace(self._cluster, partitions=partitions)
        self._cluster.reset()
        if conversations != len(self._workload.conversations):
            self._workload = Workload.generate(conversations, messages=self._messages)
        say(f"writing {len(self._workload):,} events to {partitions} partitions")
        self._cluster.fill(self._workload.events())

    def _start(self, group: str, store: str, directory: Path, how: str, workers: int = 1) -> Start:
        worker = Ours(self._cluster, directory, group, store, workers)
        try:
            begin = time.perf_counter()
            worker.launch()
            worker.wait_ready(_READY_S)
            seconds = time.perf_counter() - begin
            resident = sum(psutil.Process(process.pid).memory_info().rss for process in worker.processes)
        finally:
            worker.stop()
        say(f"{how}: {seconds:.1f} s, {resident / _MIB:.0f} MiB")
        return Start(how, seconds, resident)

    def _size(self, topics: tuple[str, ...]) -> tuple[int, int]:
        """Return the number of records, and the bytes of their keys, values and headers, uncompressed."""
        records = size = 0
        for topic in topics:
            for record in self._cluster.read(topic):
                records += 1
                size += len(record.key() or b"") + len(record.value() or b"")
                size += sum(len(name) + len(value or b"") for name, value in record.headers() or ())
        return records, size
