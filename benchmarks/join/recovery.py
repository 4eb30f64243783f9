"""Starting again with a large table: how long, against merely reading its changelogs, and in how much memory."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from support.say import say

from avro.catalogue import topic_name
from join.cluster import PREFIX, Cluster
from join.contestants import Ours
from join.race import wait
from join.workload import MESSAGES, inserts

CHANGELOGS = tuple(
    topic_name(PREFIX, name) for name in ("streams-messages-changelog", "streams-conversations-changelog")
)
STORES = ("memory", "rocksdb")
_READY_SECONDS = 900.0
_GROUP = "recovery"


@dataclass(frozen=True)
class Start:
    """A start of a worker: what it had to do, seconds until it was ready, and its resident memory then."""

    name: str
    seconds: float
    resident_bytes: int


@dataclass(frozen=True)
class Recovery:
    """`empty` starts are those of workers without tables, by store; `reading` is the floor, in seconds."""

    messages: int
    changelog_records: int
    reading: float
    empty: dict[str, Start]
    starts: list[Start]


def measure(cluster: Cluster, directory: Path, messages: int) -> Recovery:
    """Put `messages` into the tables, and start again and again."""
    cluster.reset()
    say(f"recovery: writing {messages:,} messages")
    empty = {}
    for store in STORES:
        with _started(cluster, directory / f"empty-{store}", store, f"empty-{store}", "empty") as start:
            empty[store] = start
    cluster.fill(inserts(messages // MESSAGES))
    say("recovery: joining them")
    worker = Ours(cluster, directory / "first", _GROUP, "memory")
    try:
        worker.launch()
        wait(cluster, worker)
    finally:
        worker.stop()
    begin = time.perf_counter()
    records = sum(1 for topic in CHANGELOGS for _ in cluster.read(topic))
    reading = time.perf_counter() - begin
    say(f"recovery: {records:,} changelog records read in {reading:.1f} s")
    starts = []
    for store, kept, name in (
        ("memory", "memory", "in memory: all of the changelogs"),
        ("rocksdb", "rocksdb", "RocksDB, data directory lost: all of the changelogs"),
        ("rocksdb", "rocksdb", "RocksDB, data directory there"),
    ):
        with _started(cluster, directory / kept, store, _GROUP, name) as start:
            say(f"recovery: {start.name}: {start.seconds:.1f} s, {start.resident_bytes / 2**20:.0f} MiB")
            starts.append(start)
    return Recovery(messages, records, reading, empty, starts)


@contextmanager
def _started(cluster: Cluster, directory: Path, store: str, group: str, name: str) -> Iterator[Start]:
    worker = Ours(cluster, directory, group, store)
    with ExitStack() as stack:
        stack.callback(worker.stop)
        begin = time.perf_counter()
        worker.launch()
        worker.wait_ready(_READY_SECONDS)
        seconds = time.perf_counter() - begin
        resident = sum(psutil.Process(process.pid).memory_info().rss for process in worker.processes)
        yield Start(name, seconds, resident)
