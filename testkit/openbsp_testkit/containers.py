"""The parts of a stack as containers of testcontainers: a broker, a registry, and the services."""

from __future__ import annotations

import io
import posixpath
import socket
import struct
import tarfile
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from testcontainers.core.container import DockerContainer

from openbsp_testkit import web
from openbsp_testkit.errors import StartError
from openbsp_testkit.images import KAFKA_IMAGE, REGISTRY_IMAGE, services_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testcontainers.core.network import Network
    from typing_extensions import Self

START_S = 120.0

_POLL_S = 0.05
_LOG_BYTES = 4000
_API_VERSIONS = 18
_CORRELATION = 7
_STARTER = "/tmp/openbsp-start.sh"  # noqa: S108 a path in the container
_USER = 10001  # in the services' image
_CLUSTER_ID = "b3BlbmJzcC10ZXN0a2l0IQ"


class ReadyContainer(DockerContainer, ABC):
    """A container whose `start` returns when it is ready.

    StartError, with the end of its log, if it ends before or START_S seconds pass.
    """

    def start(self) -> Self:
        """Start the container and wait for it."""
        super().start()
        deadline = time.monotonic() + START_S
        while not (self._is_running() and self._answers()):
            if not self._is_running():
                raise StartError(self.image, f"ended while starting ({self._status})", self._log_tail())
            if time.monotonic() > deadline:
                raise StartError(self.image, f"was not ready after {START_S:.0f} s", self._log_tail())
            time.sleep(_POLL_S)
        return self

    @property
    def _status(self) -> str:
        return str(self.get_wrapped_container().status)

    def _is_running(self) -> bool:
        self.get_wrapped_container().reload()
        return self._status == "running"

    @abstractmethod
    def _answers(self) -> bool: ...

    def _log_tail(self) -> str:
        return b"".join(self.get_logs())[-_LOG_BYTES:].decode("utf-8", "replace")


class KafkaContainer(ReadyContainer):
    """One broker of the image `apache/kafka`, for clients in the network and on this machine. Nothing is kept.

    It relies on the image's documentation: properties as KAFKA_* variables, and the start by /etc/kafka/docker/run.
    """

    PORT = 9092
    _PORT_INSIDE = 19092
    _PORT_CONTROLLER = 29093

    def __init__(self, network: Network, alias: str = "kafka", *, labels: Mapping[str, str] | None = None) -> None:
        self._alias = alias
        properties = {
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@localhost:{self._PORT_CONTROLLER}",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_INTER_BROKER_LISTENER_NAME": "INSIDE",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT",
            "KAFKA_LISTENERS": f"CONTROLLER://:{self._PORT_CONTROLLER},INSIDE://:{self._PORT_INSIDE},"
            f"OUTSIDE://:{self.PORT}",
            "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
            # The cleaner wants 128 MiB of the heap by default.
            "KAFKA_LOG_CLEANER_DEDUPE_BUFFER_SIZE": str(10 << 20),
            "KAFKA_HEAP_OPTS": "-Xms128m -Xmx256m",
            "CLUSTER_ID": _CLUSTER_ID,
        }
        super().__init__(KAFKA_IMAGE, env=properties)
        self.with_exposed_ports(self.PORT).with_network(network).with_network_aliases(alias)
        self.with_kwargs(labels=dict(labels or {}))
        # The port on this machine, which clients need, is known only when the container runs.
        self.with_command(["bash", "-c", f"until [ -e {_STARTER} ]; do sleep 0.05; done; exec bash {_STARTER}"])

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients on this machine."""
        return f"{self.get_container_host_ip()}:{self.get_exposed_port(self.PORT)}"

    @property
    def bootstrap_servers_inside(self) -> str:
        """The address for clients in the network."""
        return f"{self._alias}:{self._PORT_INSIDE}"

    def start(self) -> Self:
        """Start the broker and wait until it answers a client."""
        self._advertised = False
        return super().start()

    def _answers(self) -> bool:
        if not self._advertised:
            self._advertise()
            self._advertised = True
        host, port = self.bootstrap_servers.rsplit(":", 1)
        return _speaks_kafka(host, int(port))

    def _advertise(self) -> None:
        """Give the broker its advertised addresses, which lets it start."""
        addresses = f"INSIDE://{self.bootstrap_servers_inside},OUTSIDE://{self.bootstrap_servers}"
        script = f"export KAFKA_ADVERTISED_LISTENERS={addresses}\nexec /etc/kafka/docker/run\n".encode()
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo(f"{posixpath.basename(_STARTER)}.new")
            entry.size, entry.mode = len(script), 0o644
            tar.addfile(entry, io.BytesIO(script))
        container = self.get_wrapped_container()
        container.put_archive(posixpath.dirname(_STARTER), archive.getvalue())
        # Renamed: an existing script is complete.
        status, output = container.exec_run(["mv", f"{_STARTER}.new", _STARTER], user="root")
        if status != 0:
            raise StartError(self.image, "takes no script", output.decode("utf-8", "replace"))


class RegistryContainer(ReadyContainer):
    """A schema registry of the image `apicurio/apicurio-registry`, in memory, with Confluent's API."""

    PORT = 8080
    _PATH = "/apis/ccompat/v7"

    def __init__(
        self, network: Network, alias: str = "schema-registry", *, labels: Mapping[str, str] | None = None
    ) -> None:
        self._alias = alias
        # As in Confluent's registry; Apicurio's default is to check nothing.
        super().__init__(REGISTRY_IMAGE, env={"APICURIO_RULES_GLOBAL_COMPATIBILITY": "BACKWARD"})
        self.with_exposed_ports(self.PORT).with_network(network).with_network_aliases(alias)
        self.with_kwargs(mem_limit="768m", labels=dict(labels or {}))

    @property
    def url(self) -> str:
        """The base address for Confluent clients on this machine."""
        return f"http://{self.get_container_host_ip()}:{self.get_exposed_port(self.PORT)}{self._PATH}"

    @property
    def url_inside(self) -> str:
        """The same for clients in the network."""
        return f"http://{self._alias}:{self.PORT}{self._PATH}"

    def _answers(self) -> bool:
        return _is_ok(f"{self.url}/subjects")


class ServiceContainer(ReadyContainer):
    """A process of the services, ready when its /readyz answers 200."""

    def __init__(
        self,
        network: Network,
        alias: str,
        command: Sequence[str],
        port: int,
        environment: Mapping[str, str],
        *,
        image: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._port = port
        self._alias = alias
        super().__init__(image or services_image(), env=dict(environment))
        self.with_exposed_ports(port).with_network(network).with_network_aliases(alias)
        self.with_command(list(command))
        # As it should run in production.
        self.with_kwargs(
            read_only=True, cap_drop=["ALL"], security_opt=["no-new-privileges:true"], labels=dict(labels or {})
        )
        for place in ("/tmp", "/var/lib/openbsp/spool", "/var/lib/openbsp/streams"):  # noqa: S108 in the container
            self.tmpfs[place] = f"uid={_USER},gid={_USER}"

    @property
    def url(self) -> str:
        """The base address on this machine."""
        return f"http://{self.get_container_host_ip()}:{self.get_exposed_port(self._port)}"

    @property
    def url_inside(self) -> str:
        """The base address in the network."""
        return f"http://{self._alias}:{self._port}"

    def _answers(self) -> bool:
        return _is_ok(f"{self.url}/readyz")


class Task(ServiceContainer):
    """A command of the services that ends by itself."""

    def run(self) -> None:
        """Run it to its end; StartError, with what it wrote, if it fails."""
        DockerContainer.start(self)
        if self.get_wrapped_container().wait(timeout=START_S)["StatusCode"] != 0:
            raise StartError(self.image, "failed", self._log_tail())


def _is_ok(url: str) -> bool:
    try:
        return web.get(url, timeout=2.0).is_success
    except web.TransportErrors:
        return False


def _speaks_kafka(host: str, port: int) -> bool:
    """Whether a broker answers ApiVersions, the one request that every client begins with."""
    request = struct.pack(">hhih", _API_VERSIONS, 0, _CORRELATION, -1)
    try:
        with socket.create_connection((host, port), timeout=2.0) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.recv(10, socket.MSG_WAITALL)
    except OSError:
        return False
    # Docker's own proxy accepts connections before the broker listens behind it.
    return len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (_CORRELATION, 0)  # noqa: PLR2004
