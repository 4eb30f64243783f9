"""The parts of a stack as containers of testcontainers: a broker, a registry, and processes of this project."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self

import httpx
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from testcontainers.core.container import DockerContainer, ExecConfig
from testcontainers.core.network import Network

from bridge.testkit.errors import StartError
from bridge.testkit.images import bridge_image, kafka_image, registry_image

START_S = 120.0

_POLL_S = 0.05
_LOG_BYTES = 4000
_STARTER = "/tmp/openbsp-start.sh"  # noqa: S108 a path in the container
_USER = 10001  # in the image of this project
_CLUSTER_ID = "b3BlbmJzcC10ZXN0a2l0IQ"


class ReadyContainer(DockerContainer, ABC):
    """A container whose `start` returns when it does its work.

    StartError, with the end of its log, if it ends before or START_S seconds pass.
    """

    def start(self) -> Self:
        """Start the container and wait for it."""
        super().start()
        deadline = time.monotonic() + START_S
        while not (self._is_running() and self._answers()):
            if not self._is_running():
                raise StartError(self.image, f"ended while starting ({self.status})", self._log_tail())
            if time.monotonic() > deadline:
                raise StartError(self.image, f"was not ready after {START_S:.0f} s", self._log_tail())
            time.sleep(_POLL_S)
        return self

    def _is_running(self) -> bool:
        self.reload()
        return self.status == "running"

    @abstractmethod
    def _answers(self) -> bool: ...

    def _log_tail(self) -> str:
        return b"".join(self.get_logs())[-_LOG_BYTES:].decode("utf-8", "replace")


class KafkaContainer(ReadyContainer):
    """One broker of the image `apache/kafka`, for clients in the network and on this machine. Nothing is kept.

    It relies on what the image documents: properties as KAFKA_* variables, and the start by /etc/kafka/docker/run.
    """

    PORT = 9092
    _PORT_INSIDE = 19092
    _PORT_CONTROLLER = 29093

    def __init__(self, network: Network, alias: str = "kafka") -> None:
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
        super().__init__(
            kafka_image(),
            env=properties,
            ports=[self.PORT],
            network=network,
            network_aliases=[alias],
        )
        # The port on this machine, which clients must be told, is known only when the container runs.
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
        # log_level 0: a refused connection is no news while the broker starts.
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        try:
            return bool(admin.describe_cluster(request_timeout=2).result().nodes)
        except KafkaException:
            return False

    def _advertise(self) -> None:
        """Tell the broker which addresses clients have to use, which lets it start."""
        addresses = f"INSIDE://{self.bootstrap_servers_inside},OUTSIDE://{self.bootstrap_servers}"
        script = f"export KAFKA_ADVERTISED_LISTENERS={addresses}\nexec /etc/kafka/docker/run\n"
        self.copy_into_container(script.encode(), f"{_STARTER}.new")
        # Renamed: a script that is there is whole.
        moved = self.exec(ExecConfig(["mv", f"{_STARTER}.new", _STARTER], user="root"))
        if moved.exit_code != 0:
            raise StartError(self.image, "takes no script", moved.output.decode("utf-8", "replace"))


class RegistryContainer(ReadyContainer):
    """A schema registry of the image `apicurio/apicurio-registry`, in memory, with Confluent's API."""

    PORT = 8080
    _PATH = "/apis/ccompat/v7"

    def __init__(self, network: Network, alias: str = "schema-registry") -> None:
        self._alias = alias
        super().__init__(
            registry_image(),
            # As in Confluent's registry; Apicurio's default is to check nothing.
            env={"APICURIO_RULES_GLOBAL_COMPATIBILITY": "BACKWARD"},
            ports=[self.PORT],
            network=network,
            network_aliases=[alias],
        )
        self.with_kwargs(mem_limit="768m")

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
    """A process of this project, ready when its /readyz answers 200."""

    def __init__(
        self, network: Network, alias: str, command: Sequence[str], port: int, environment: Mapping[str, str]
    ) -> None:
        self._port = port
        self._alias = alias
        super().__init__(
            bridge_image(),
            env=dict(environment),
            ports=[port],
            network=network,
            network_aliases=[alias],
        )
        self.with_command(list(command))
        # As it should run in production.
        self.with_kwargs(read_only=True, cap_drop=["ALL"], security_opt=["no-new-privileges:true"])
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


def _is_ok(url: str) -> bool:
    try:
        # trust_env: a proxy of the environment is no way to this machine.
        return httpx.get(url, timeout=2.0, trust_env=False).is_success
    except httpx.TransportError:
        return False
