"""Broker, registry and processes of this project in containers, where integration tests otherwise have local ones.

`ContainerServers` stands for `LocalStack`, `ContainerPart` for `PythonPart`: tests that speak HTTP and Kafka see no
difference.
"""

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NoReturn, Self

import docker
from testcontainers.core.network import Network

from openbsp.local.errors import StartError
from openbsp.local.part import START_SECONDS
from openbsp.local.ports import LOOPBACK, free_ports
from openbsp_testkit.containers import KafkaContainer, RegistryContainer
from openbsp_testkit.images import services_image
from openbsp_testkit.reaper import obstacle_to_ryuk
from support.docker.image import build_image
from support.look import look

STOP_S = 15

_OWN_VARIABLES = ("BRIDGE_", "STREAMS_", "KAFKA_", "SCHEMA_REGISTRY_", "TOPIC_")
_POLL_S = 0.05


class ContainerServers:
    """A broker and a registry on a network of their own inside the `with` block; builds the checkout's image."""

    def __init__(self, kafka_properties: Mapping[str, object]) -> None:
        self._variables = {
            f"KAFKA_{name.replace('.', '_').upper()}": str(value) for name, value in kafka_properties.items()
        }

    def __enter__(self) -> Self:
        build_image()
        obstacle_to_ryuk()  # without its image it is switched off
        with ExitStack() as cleanup:
            self.network = cleanup.enter_context(Network())
            self._kafka, self._registry = KafkaContainer(self.network), RegistryContainer(self.network)
            self._kafka.with_envs(**self._variables)
            for container in (self._kafka, self._registry):
                cleanup.callback(container.stop)
            with ThreadPoolExecutor() as pool:
                for started in [pool.submit(container.start) for container in (self._kafka, self._registry)]:
                    started.result()
            self._client = cleanup.enter_context(closing(docker.from_env()))
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @property
    def kafka(self) -> str:
        """Bootstrap servers for clients on this machine."""
        return self._kafka.bootstrap_servers

    @property
    def registry(self) -> str:
        """Base URL of the registry for clients on this machine."""
        return self._registry.url

    def part(
        self, name: str, arguments: Sequence[str], *, variables: str, environment: Mapping[str, str], log: Path
    ) -> "ContainerPart":
        """Return what `PythonPart` with the same arguments is, as a container in the network of the servers."""
        alias = f"{name}-{log.parent.name}".replace("_", "-").lower()
        port = free_ports(1)[0]
        inside = {
            **{key: value for key, value in environment.items() if key.startswith(_OWN_VARIABLES)},
            "KAFKA_BOOTSTRAP_SERVERS": self._kafka.bootstrap_servers_inside,
            "SCHEMA_REGISTRY_URL": self._registry.url_inside,
            f"{variables}_HOST": "0.0.0.0",
            f"{variables}_PORT": str(port),
        }
        inside.setdefault("STREAMS_ADVERTISED_URL", f"http://{alias}:{port}")
        options = {
            "image": services_image(),
            "command": list(arguments),
            "environment": inside,
            "network": self.network.name,
            "hostname": alias,
            "networking_config": {self.network.name: self._client.api.create_endpoint_config(aliases=[alias])},
            "ports": {f"{port}/tcp": (LOOPBACK, port)},
            # Tests look into these directories: they are under the same path on both sides, and of the same user.
            "volumes": {str(log.parent): {"bind": str(log.parent), "mode": "rw"}},
            "user": f"{os.getuid()}:{os.getgid()}",
            "read_only": True,
            "tmpfs": {"/tmp": ""},
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
        }
        return ContainerPart(name, self._client, options, f"http://{LOOPBACK}:{port}", log)


class ContainerPart:
    """A process of this project in a container; the surface of `PythonPart` that tests use."""

    def __init__(self, name: str, client: docker.DockerClient, options: Mapping[str, Any], url: str, log: Path) -> None:
        self.name = name
        self.url = url
        self._client = client
        self._options = options
        self._log = log
        self._container: Any = None
        self.returncode: int | None = None

    @property
    def process(self) -> Self:
        """What has `returncode` when it ended."""
        return self

    @property
    def pid(self) -> int:
        """The process id on this machine, where the engine runs on it."""
        self._container.reload()
        return self._container.attrs["State"]["Pid"]

    @property
    def running(self) -> bool:
        """Whether the process is there; it may not be ready."""
        if self._container is None:
            return False
        self._container.reload()
        return self._container.status == "running"

    def start(self, timeout: float = START_SECONDS) -> None:
        """Start a container and return when `/readyz` answers 200. StartError."""
        self.launch()
        self.wait_ready(timeout)

    def launch(self) -> None:
        """Start a container without waiting for it."""
        self._log.touch()
        self.returncode = None
        self._container = self._client.containers.run(detach=True, **self._options)

    def wait_ready(self, timeout: float = START_SECONDS) -> None:
        """Return when `/readyz` answers 200. StartError if it ends or `timeout` seconds pass; it is gone then."""
        deadline = time.monotonic() + timeout
        try:
            while not self._answers():
                if not self.running:
                    self._fail("ended while starting")
                if time.monotonic() > deadline:
                    self._fail(f"was not ready after {timeout:.0f} s")
                time.sleep(_POLL_S)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout: float = STOP_S) -> None:
        """End the process in order, by force after `timeout` seconds; without effect when there is none."""
        if self._container is not None:
            self._container.stop(timeout=round(timeout))
            self._remove()

    def kill(self) -> None:
        """End the process at once; without effect when there is none."""
        if self._container is not None:
            if self.running:
                self._container.kill()
            self._remove()

    def _remove(self) -> None:
        self.returncode = self._container.wait()["StatusCode"]
        with self._log.open("ab") as log:
            log.write(self._container.logs())
        self._container.remove(force=True, v=True)
        self._container = None

    def _answers(self) -> bool:
        answer = look(f"{self.url}/readyz", timeout=2.0)
        return answer is not None and answer[0] == 200

    def _fail(self, reason: str) -> NoReturn:
        raise StartError(self.name, reason, self._container.logs(tail=50).decode("utf-8", "replace"))
