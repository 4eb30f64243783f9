"""A whole stack for tests: Kafka, a schema registry, the bridge and a streams worker."""

import json
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
from testcontainers.core.network import Network

from avro.catalogue import topic_name
from bridge.testkit.backend import Backend
from bridge.testkit.containers import KafkaContainer, ReadyContainer, RegistryContainer, ServiceContainer
from bridge.testkit.errors import NotAcceptedError
from bridge.testkit.reaper import do_without_reaper_where_it_cannot_be_had
from bridge.testkit.rows import Webhook
from bridge.testkit.sender import FakeSender
from bridge.testkit.topic import TopicReader
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.kafka.registry import Registry
from openbsp.kafka.topics import Topics
from openbsp.up.command import open_stack
from openbsp.up.stack import Addresses, Ports

PREFIX = "openbsp."
PARTITIONS = 4

_OWN_VARIABLES = ("BRIDGE_", "STREAMS_", "KAFKA_", "SCHEMA_REGISTRY_", "TOPIC_")


@dataclass(frozen=True, slots=True)
class OpenBspStack:
    """A running stack and how to reach it."""

    backend: Backend
    addresses: Addresses
    """For clients on this machine: `kafka` is bootstrap servers, the others are base URLs."""
    token: str = field(repr=False)
    """The bearer token that the bridge and the views accept, for all organizations."""
    network: Network | None = None
    """With containers: the network of all of them, for containers of yours."""
    addresses_inside: Addresses | None = None
    """With containers: the addresses for clients in that network."""

    @property
    def authorization(self) -> dict[str, str]:
        """The header that carries the token."""
        return {"Authorization": f"Bearer {self.token}"}

    def topic(self, name: str) -> str:
        """Return the full name of a topic of the catalogue, such as `status-changes`."""
        return topic_name(PREFIX, name)

    def send(self, webhook: Webhook) -> dict[str, Any]:
        """Post a webhook once, as OpenBSP does, and return the receipt. NotAcceptedError."""
        (delivery,) = self.sender(repeats=0).send([webhook])
        answer = delivery.answer
        if delivery.lost:
            raise NotAcceptedError(answer.status, answer.text)
        return cast("dict[str, Any]", json.loads(answer.text))

    def sender(self, *, repeats: float = 0.1, seed: int | None = None) -> FakeSender:
        """Return a sender that behaves like OpenBSP's; see there."""
        return FakeSender(self.addresses.bridge, self.token, repeats=repeats, seed=seed)

    def reader(self, name: str, *, from_beginning: bool = False) -> TopicReader:
        """Return a reader of a topic of the catalogue; see there. It has to be closed."""
        return TopicReader(
            self.topic(name),
            kafka=self.addresses.kafka,
            schema_registry=self.addresses.schema_registry,
            from_beginning=from_beginning,
        )

    def view(self, path: str) -> httpx.Response:
        """Ask the views once, such as for `/conversations/<id>`."""
        # trust_env: a proxy of the environment is no way to this machine.
        return httpx.get(f"{self.addresses.views}{path}", headers=self.authorization, timeout=10, trust_env=False)


@contextmanager
def running_stack(backend: Backend) -> Iterator[OpenBspStack]:
    """Start a stack of its own, empty, and stop it at the end of the block; nothing of it is left.

    Errors: StartError, those of `openbsp.local.errors` and of `avro.errors`, and those of testcontainers.
    """
    with _containers() if backend is Backend.CONTAINERS else _processes() as stack:
        yield stack


@contextmanager
def _processes() -> Iterator[OpenBspStack]:
    with ExitStack() as cleanup:
        with _environment():
            stack, token = cleanup.enter_context(open_stack(None, Ports()))
        yield OpenBspStack(Backend.LOCAL, stack.addresses, token)


@contextmanager
def _environment() -> Iterator[None]:
    """Set the variables that lead to the local stack, for the time that it takes to start."""
    saved = dict(os.environ)
    for name in saved:
        if name.startswith(_OWN_VARIABLES):
            del os.environ[name]
    os.environ |= {"TOPIC_PREFIX": PREFIX, "TOPIC_PARTITIONS": str(PARTITIONS)}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= saved


@contextmanager
def _containers() -> Iterator[OpenBspStack]:
    token = secrets.token_urlsafe(24)
    do_without_reaper_where_it_cannot_be_had()
    with ExitStack() as cleanup:
        network = cleanup.enter_context(Network())
        kafka, registry = KafkaContainer(network), RegistryContainer(network)
        _start(cleanup, kafka, registry)
        topics = TopicSettings(prefix=PREFIX, partitions=PARTITIONS, replication_factor=1, min_insync_replicas=1)
        Topics(KafkaSettings(bootstrap_servers=kafka.bootstrap_servers), topics).apply()
        with Registry(RegistrySettings(url=registry.url), PREFIX) as subjects:
            subjects.register()
        servers = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers_inside,
            "SCHEMA_REGISTRY_URL": registry.url_inside,
            **{f"TOPIC_{name.upper()}": str(value) for name, value in topics.model_dump().items()},
        }
        bridge = ServiceContainer(
            network, "bridge", ["bridge", "serve"], 8080, {**servers, "BRIDGE_TOKENS": f"tests={token}"}
        )
        streams = ServiceContainer(
            network,
            "streams",
            ["streams", "worker"],
            8090,
            {**servers, "STREAMS_TOKENS": f"tests={token}", "STREAMS_ADVERTISED_URL": "http://streams:8090"},
        )
        _start(cleanup, bridge, streams)
        yield OpenBspStack(
            Backend.CONTAINERS,
            Addresses(kafka.bootstrap_servers, registry.url, bridge.url, streams.url),
            token,
            network,
            Addresses(kafka.bootstrap_servers_inside, registry.url_inside, bridge.url_inside, streams.url_inside),
        )


def _start(cleanup: ExitStack, *containers: ReadyContainer) -> None:
    """Start them side by side; each that was begun is removed at the end."""
    for container in containers:
        cleanup.callback(container.stop)
    with ThreadPoolExecutor() as pool:
        for started in [pool.submit(container.start) for container in containers]:
            started.result()
