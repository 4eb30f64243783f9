"""Broker and registry together."""

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Self

from bridge.local.artifacts import cache_directory, ensure_bundle
from bridge.local.kafka import KafkaBroker, Properties
from bridge.local.lockfile import read_lock
from bridge.local.process import LogSink
from bridge.local.registry import SchemaRegistry
from bridge.local.server import START_SECONDS, JavaServer


class LocalStack:
    """A Kafka broker and a schema registry on 127.0.0.1, ready inside the `with` block and gone after it.

    `data_dir` keeps everything, for a later start with the same or other ports; without one, the data lives as long as the
    block. Ports that are not given are chosen. `on_log` gets the name of a server and a line of its log, from other threads.
    The first start on a machine fetches the programs. Errors: see bridge.local.errors.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        kafka_port: int | None = None,
        registry_port: int | None = None,
        kafka_properties: Properties | None = None,
        on_log: LogSink | None = None,
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="openbsp-") if data_dir is None else None
        directory = Path(self._temporary.name) if self._temporary else data_dir
        assert directory is not None
        self.broker = KafkaBroker(
            directory / "kafka", port=kafka_port, extra_properties=kafka_properties, on_log=on_log
        )
        self.schema_registry = SchemaRegistry(directory / "registry", port=registry_port, on_log=on_log)

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
        """Start both and return when both answer; `timeout` in seconds counts from when the programs are in the cache."""
        for bundle in read_lock().values():
            ensure_bundle(bundle, cache_directory())
        deadline = time.monotonic() + timeout
        try:
            # The registry takes longer and comes up while the broker formats its storage and starts.
            self.schema_registry.launch()
            self.broker.launch()
            for server in self.servers:
                server.wait_ready(max(0.0, deadline - time.monotonic()))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop both, in the reverse order of their use, and remove a temporary data directory."""
        with contextlib.ExitStack() as stack:
            if self._temporary is not None:
                stack.callback(self._temporary.cleanup)
            for server in self.servers:
                stack.callback(server.stop)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
