"""The four parts, connected to each other."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.kafka.registry import Registry
from openbsp.kafka.topics import Topics
from openbsp.local.errors import PortInUseError
from openbsp.local.part import Part
from openbsp.local.ports import is_free
from openbsp.local.process import LogSink
from openbsp.local.stack import LocalStack
from openbsp.settings import load
from openbsp.up.part import PythonPart
from openbsp.up.token import StackToken


@dataclass(frozen=True, slots=True)
class Ports:
    """The port of each part on 127.0.0.1; None means any that is free."""

    kafka: int | None = None
    schema_registry: int | None = None
    bridge: int | None = None
    views: int | None = None

    @classmethod
    def starting_at(cls, base: int | None) -> Self:
        """Return four ports in a row, or any ports without a `base`."""
        return cls() if base is None else cls(base, base + 1, base + 2, base + 3)

    def check(self) -> None:
        """Raise PortInUseError if something listens on one of the given ports."""
        for name, port in asdict(self).items():
            if port is not None and not is_free(port):
                raise PortInUseError(name, port)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a client finds the parts."""

    kafka: str
    schema_registry: str
    bridge: str
    views: str


class Stack:
    """Kafka, the registry, the bridge and the streams worker, ready inside the `with` block and gone after it.

    Everything is kept in the directory `data`: a later stack with the same one continues from there. `tokens` are those
    of the bridge and the views, as in BRIDGE_TOKENS. The environment must be a local one, as made by
    `openbsp.up.environment`. Errors: those of `openbsp.local.errors`, `avro.errors` and `openbsp.settings`.
    """

    def __init__(self, data: Path, *, tokens: str, ports: Ports, on_log: LogSink | None = None) -> None:
        self._data = data.absolute()
        self._tokens = tokens
        self._ports = ports
        self._on_log = on_log
        self._exit = ExitStack()
        self._parts: tuple[Part, ...] = ()
        self._addresses: Addresses | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, in the order in which they need each other; none before the start."""
        return self._parts

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each part, by name."""
        return {part.name: part.pid for part in self._parts}

    @property
    def addresses(self) -> Addresses:
        """Where a client finds the parts; known when started."""
        if self._addresses is None:
            raise RuntimeError("the stack is not started")
        return self._addresses

    @property
    def logs(self) -> Path:
        """The directory of the logs of bridge and streams."""
        return self._data / "logs"

    def __enter__(self) -> Self:
        self._ports.check()
        with self._exit:
            servers = self._exit.enter_context(
                LocalStack(
                    self._data,
                    kafka_port=self._ports.kafka,
                    registry_port=self._ports.schema_registry,
                    on_log=self._on_log,
                )
            )
            _prepare(servers)
            environment = {
                **os.environ,
                "KAFKA_BOOTSTRAP_SERVERS": servers.kafka,
                "SCHEMA_REGISTRY_URL": servers.registry,
            }
            bridge = self._bridge(environment)
            self._exit.callback(bridge.close)
            bridge.launch()
            streams = self._streams({**environment, "STREAMS_BRIDGE_URL": bridge.url})
            self._exit.callback(streams.stop)
            streams.launch()
            for part in (bridge, streams):
                part.wait_ready()
            self._parts = (servers.broker, servers.schema_registry, bridge, streams)
            self._addresses = Addresses(servers.kafka, servers.registry, bridge.url, streams.url)
            self._exit = self._exit.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _bridge(self, environment: Mapping[str, str]) -> PythonPart:
        return PythonPart(
            "bridge",
            ["bridge", "serve"],
            variables="BRIDGE",
            environment={**environment, "BRIDGE_TOKENS": self._tokens, "BRIDGE_SPOOL_DIR": str(self._data / "spool")},
            log=self.logs / "bridge.log",
            port=self._ports.bridge,
            keep_listening=True,
            on_log=self._on_log,
        )

    def _streams(self, environment: Mapping[str, str]) -> PythonPart:
        return PythonPart(
            "streams",
            ["streams", "worker"],
            variables="STREAMS",
            environment={
                **environment,
                "STREAMS_TOKENS": self._tokens,
                "STREAMS_BRIDGE_TOKEN": StackToken.of_tokens(self._tokens).token,
                "STREAMS_DATA_DIR": str(self._data / "streams"),
            },
            log=self.logs / "streams.log",
            port=self._ports.views,
            on_log=self._on_log,
        )


def _prepare(servers: LocalStack) -> None:
    """Create the topics and register the schemas."""
    (topics,) = load(TopicSettings)
    client = Topics(KafkaSettings(bootstrap_servers=servers.kafka), topics)
    client.apply()
    client.migrate()
    with Registry(RegistrySettings(url=servers.registry), topics.prefix) as registry:
        registry.register()
