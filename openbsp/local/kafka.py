"""A real Apache Kafka broker: KRaft, one node that is broker and controller."""

import base64
import contextlib
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from avro.catalogue import MAX_MESSAGE_BYTES
from openbsp.local.errors import StartError
from openbsp.local.ports import free_ports
from openbsp.local.process import LogSink
from openbsp.local.properties import write_properties
from openbsp.local.server import JavaServer, local_address

Properties = Mapping[str, str | int | bool]

MESSAGE_MAX_BYTES = MAX_MESSAGE_BYTES

_HEAP = ("-Xms64m", "-Xmx160m", "-XX:MaxDirectMemorySize=64m")
_FORMAT_SECONDS = 60.0
# In the settings, paths are relative to the data directory: Kafka splits them at commas, and the name is the user's.
_STORAGE = "log"
_LOGGING_FILE = "log4j2.properties"
_LISTENER_LISTS = ("listeners", "advertised.listeners", "listener.security.protocol.map")
_FIXED: Properties = MappingProxyType(
    {
        "process.roles": "broker,controller",
        "node.id": 1,
        "inter.broker.listener.name": "CLIENT",
        "controller.listener.names": "CONTROLLER",
        "auto.create.topics.enable": False,
        "message.max.bytes": MESSAGE_MAX_BYTES,
        "replica.fetch.max.bytes": MESSAGE_MAX_BYTES,
        "group.initial.rebalance.delay.ms": 0,
        # A killed broker can register again only when the session of its predecessor has expired.
        "broker.session.timeout.ms": 2000,
        "broker.heartbeat.interval.ms": 500,
        "log.cleaner.dedupe.buffer.size": 10 << 20,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 4,
    }
)
_LOGGING: Properties = MappingProxyType(
    {
        "status": "warn",
        "shutdownHook": "disable",  # it would end the logging before the broker
        "appender.stdout.type": "Console",
        "appender.stdout.name": "stdout",
        "appender.stdout.layout.type": "PatternLayout",
        "appender.stdout.layout.pattern": "%d{ISO8601} %-5p %m (%c{1})%n",
        "rootLogger.level": "info",
        "rootLogger.appenderRef.stdout.ref": "stdout",
        # Hundreds of lines, with every setting, at every start.
        "logger.config.name": "org.apache.kafka.common.config.AbstractConfig",
        "logger.config.level": "warn",
    }
)


class KafkaBroker(JavaServer):
    """A broker for plain text clients on 127.0.0.1, without automatic topics.

    `extra_properties` are broker settings of the caller: they replace the defaults, but `listeners`,
    `advertised.listeners` and `listener.security.protocol.map` are added to the listeners CLIENT and CONTROLLER.
    """

    name = "kafka"
    bundle: ClassVar = "kafka"

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        extra_properties: Properties | None = None,
        on_log: LogSink | None = None,
    ) -> None:
        super().__init__(data_dir, port=port, on_log=on_log)
        self._extra_properties = dict(extra_properties or {})

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients."""
        return local_address(self.port)

    def _command(self, home: Path) -> Sequence[str]:
        settings = self._data_dir / "server.properties"
        # The controller's port is another one at every start. That is possible because the voters are named in the
        # settings (a static quorum): in a dynamic one their addresses would be part of the data.
        (controller_port,) = free_ports(1)
        write_properties(settings, self._properties(controller_port))
        write_properties(self._data_dir / _LOGGING_FILE, _LOGGING)
        jvm = [
            *_HEAP,
            f"-Dlog4j2.configurationFile={_LOGGING_FILE}",
            # Kafka and its compression libraries use features that Java warns about.
            "--sun-misc-unsafe-memory-access=allow",
            "--enable-native-access=ALL-UNNAMED",
            "-cp",
            f"{home}/*",
        ]
        if not (self._data_dir / _STORAGE).exists():
            self._format([*jvm, "kafka.tools.StorageTool"])
        return [*jvm, "kafka.Kafka", settings.name]

    def _properties(self, controller_port: int) -> Properties:
        client = f"CLIENT://{local_address(self.port)}"
        own = {
            **_FIXED,
            "listeners": f"{client},CONTROLLER://{local_address(controller_port)}",
            "advertised.listeners": client,
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.quorum.voters": f"1@{local_address(controller_port)}",
            "log.dirs": _STORAGE,
        }
        added = {
            name: f"{own[name]},{self._extra_properties[name]}"
            for name in _LISTENER_LISTS
            if name in self._extra_properties
        }
        return {**own, **self._extra_properties, **added}

    def _format(self, tool: Sequence[str]) -> None:
        """Make the storage, elsewhere first: it exists as a whole or not at all."""
        new = self._data_dir / f"{_STORAGE}.new"
        shutil.rmtree(new, ignore_errors=True)
        settings = self._data_dir / "format.properties"
        write_properties(settings, {**self._properties(controller_port=0), "log.dirs": new.name})
        # One argument with "=", as an id can begin with "-".
        process = self._child(
            "format", [*tool, "format", f"--cluster-id={_random_cluster_id()}", "--config", settings.name]
        )
        try:
            status = process.wait(_FORMAT_SECONDS)
        finally:
            process.kill()
        if status != 0:
            raise StartError(self.name, f"could not format its storage (status {status})", process.log_tail())
        new.rename(self._data_dir / _STORAGE)

    def _serves(self, timeout: float) -> bool:
        # log_level 0: a refused connection is no news while the broker starts.
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        with contextlib.suppress(KafkaException):
            cluster = admin.describe_cluster(request_timeout=max(0.1, min(timeout, 2.0))).result()
            return bool(cluster.nodes) and cluster.cluster_id == self._cluster_id()
        return False

    def _cluster_id(self) -> str:
        text = (self._data_dir / _STORAGE / "meta.properties").read_text("utf-8")
        match = re.search(r"^cluster\.id=(\S+)$", text, re.MULTILINE)
        return match[1] if match else ""


def _random_cluster_id() -> str:
    """16 random bytes in URL-safe base64 without padding, as Kafka's own tool makes them."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
