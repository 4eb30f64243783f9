"""Broker and registry together."""

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Self

from openbsp.local.artifacts import cache_directory, ensure_bundle
from openbsp.local.kafka import KafkaBroker, Properties
from openbsp.local.lockfile import read_lock
from openbsp.local.part import START_SECONDS
from openbsp.local.process import LogSink
from openbsp.local.registry import SchemaRegistry
from openbsp.local.server import JavaServer


class LocalStack:
    """A Kafka broker and a schema registry on 127.0.0.1, ready inside the `with` block and gone after it.

    `data_dir` keeps everything, for a later start with the same or other ports; without one, the data lives as long as
    the block. Ports that are not given are chosen. `on_log` gets the name of a server and a line of its log, from other
    threads. The first start on a machine fetches the programs. Errors: see openbsp.local.errors.
    """

    broker: KafkaBroker
    """Usable from `start` on, as the registry."""
    schema_registry: SchemaRegistry

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        kafka_port: int | None = None,
        registry_port: int | None = None,
        kafka_properties: Properties | None = None,
        on_log: LogSink | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._kafka_port = kafka_port
        self._registry_port = registry_port
        self._kafka_properties = kafka_properties
        self._on_log = on_log
        self._cleanup = contextlib.ExitStack()

    @property
    def kafka(self) -> str:
        """Bootstrap servers: 127.0.0.1 and the port."""
        return self.broker.bootstrap_servers

    @property
    def registry(self) -> str:
        """Base URL of the registry for Confluent clients."""
        return self.schema_registry.url

    @property
    def servers(self) -> tuple[JavaServer, ...]:
        """The broker and the registry."""
        return (self.broker, self.schema_registry)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name: `kafka` and `schema_registry`."""
        return {server.name: server.pid for server in self.servers}

    def start(self, timeout: float = START_SECONDS) -> None:
        """Start both and return when both answer; the `timeout` in seconds does not count the fetching of programs."""
        for bundle in read_lock().values():
            ensure_bundle(bundle, cache_directory())
        deadline = time.monotonic() + timeout
        with contextlib.ExitStack() as cleanup:
            directory = self._data_dir or Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="openbsp-")))
            self.broker = KafkaBroker(
                directory / "kafka", port=self._kafka_port, extra_properties=self._kafka_properties, on_log=self._on_log
            )
            self.schema_registry = SchemaRegistry(directory / "registry", port=self._registry_port, on_log=self._on_log)
            # The registry takes longer: it comes up while the broker formats its storage and starts.
            for server in reversed(self.servers):
                cleanup.callback(server.stop)
                server.launch()
            for server in self.servers:
                server.wait_ready(max(0.0, deadline - time.monotonic()))
            self._cleanup = cleanup.pop_all()

    def stop(self) -> None:
        """Stop both and remove a temporary data directory."""
        self._cleanup.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def prepare() -> None:
    """Halve the processor time of later starts, unless done already; takes up to a minute."""
    with tempfile.TemporaryDirectory(prefix="openbsp-") as directory:
        for server in (KafkaBroker(Path(directory, "kafka")), SchemaRegistry(Path(directory, "registry"))):
            server.prepare()
