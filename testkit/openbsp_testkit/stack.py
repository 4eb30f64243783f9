"""A whole stack for tests: Kafka, a schema registry, the bridge and a streams worker."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from openbsp_testkit import web
from openbsp_testkit.backend import Backend, choose
from openbsp_testkit.environment import services_python
from openbsp_testkit.errors import NotAcceptedError, TestkitError, UnknownTopicError
from openbsp_testkit.images import services_image
from openbsp_testkit.options import Options
from openbsp_testkit.processes import running
from openbsp_testkit.rows import Organization, Webhook
from openbsp_testkit.sender import FakeSender, blocking
from openbsp_testkit.tokens import Tokens
from openbsp_testkit.topic import TopicReader

if TYPE_CHECKING:
    from testcontainers.core.network import Network

    from openbsp_testkit.containers import ReadyContainer

PREFIX = "openbsp."
PARTITIONS = 4

_SUBJECT = "-value"
_log = logging.getLogger(__name__)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Addresses:
    """Addresses of the parts: `kafka` is bootstrap servers, the others are base URLs."""

    kafka: str
    schema_registry: str
    bridge: str
    views: str


@dataclass(frozen=True)
class OpenBspStack:
    """A running stack and its addresses."""

    backend: Backend
    addresses: Addresses
    """For clients on this machine."""
    tokens: Tokens = field(repr=False)
    network: Network | None = None
    """With containers: the network of all of them, for containers of yours."""
    addresses_inside: Addresses | None = None
    """With containers: the addresses for clients in that network."""

    @property
    def token(self) -> str:
        """The bearer token that the bridge and the views accept, for all organizations."""
        return self.tokens.token

    @property
    def authorization(self) -> dict[str, str]:
        """The header that carries the token."""
        return _authorization(self.token)

    @cached_property
    def topics(self) -> frozenset[str]:
        """The topics with values in Avro, as `topic` takes them: those with schemas in the registry."""
        answer = web.get(f"{self.addresses.schema_registry}/subjects")
        if not answer.is_success:
            raise TestkitError(f"the schema registry does not list its subjects: {answer.text}")
        subjects: list[str] = answer.json()
        return frozenset(
            subject[len(PREFIX) : -len(_SUBJECT)]
            for subject in subjects
            if subject.startswith(PREFIX) and subject.endswith(_SUBJECT)
        )

    def topic(self, name: str) -> str:
        """Return the full name of a topic, such as `status-changes`. UnknownTopicError lists them."""
        short = name.removeprefix(PREFIX)
        if short not in self.topics:
            raise UnknownTopicError(name, self.topics)
        return PREFIX + short

    def send(self, webhook: Webhook) -> dict[str, Any]:
        """Post a webhook once, as OpenBSP does, and return the receipt. NotAcceptedError."""
        return _send(self.sender(repeats=0), webhook)

    async def send_async(self, webhook: Webhook) -> dict[str, Any]:
        """As `send`, in the running asyncio loop."""
        return await _send_async(self.sender(repeats=0), webhook)

    def sender(self, *, repeats: float = 0.1, seed: int | None = None, token: str | None = None) -> FakeSender:
        """Return a sender that behaves like OpenBSP's; see there."""
        return FakeSender(self.addresses.bridge, token or self.token, repeats=repeats, seed=seed)

    def reader(self, name: str, *, from_beginning: bool = False) -> TopicReader:
        """Return a reader of a topic, such as `status-changes`; see there. It has to be closed."""
        return TopicReader(
            self.topic(name),
            kafka=self.addresses.kafka,
            schema_registry=self.addresses.schema_registry,
            from_beginning=from_beginning,
        )

    def view(self, path: str, *, token: str | None = None) -> web.Response:
        """Ask the views once, such as for `/conversations/<id>`."""
        return web.get(f"{self.addresses.views}{path}", headers=_authorization(token or self.token))

    async def view_async(self, path: str, *, token: str | None = None) -> web.Response:
        """As `view`, in a thread of the running asyncio loop."""
        return await asyncio.to_thread(self.view, path, token=token)

    def tenant(self, **options: Any) -> Tenant:
        """Return a new organization with a token that is bound to it; `options` are those of `Organization`."""
        bound = self.tokens.bind()
        return Tenant(self, Organization(id=bound.organization_id, **options), bound.token)


@dataclass(frozen=True)
class Tenant:
    """An organization with a token of its own, which is valid for no other organization."""

    stack: OpenBspStack = field(repr=False)
    organization: Organization
    token: str = field(repr=False)

    @property
    def authorization(self) -> dict[str, str]:
        """The header that carries the token."""
        return _authorization(self.token)

    def send(self, webhook: Webhook) -> dict[str, Any]:
        """Post a webhook once with this token and return the receipt. NotAcceptedError."""
        return _send(self.stack.sender(repeats=0, token=self.token), webhook)

    def view(self, path: str) -> web.Response:
        """Ask the views once with this token."""
        return self.stack.view(path, token=self.token)


@contextmanager
def running_stack(
    backend: Backend | None = None, options: Options | None = None, *, say: Say = _log.info
) -> Iterator[OpenBspStack]:
    """Start a stack of its own, empty, and stop it at the end of the block; nothing of it is left.

    `say` is called with notes for the user, such as that the first start takes longer. Errors: those of
    `openbsp_testkit.errors` and, with containers, of testcontainers.
    """
    options = Options.read() if options is None else options
    backend = choose(options).backend if backend is None else backend
    with _containers(options, say) if backend is Backend.CONTAINERS else _processes(options, say) as stack:
        yield stack


def _authorization(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _send(sender: FakeSender, webhook: Webhook) -> dict[str, Any]:
    return blocking(lambda: _send_async(sender, webhook))


async def _send_async(sender: FakeSender, webhook: Webhook) -> dict[str, Any]:
    (delivery,) = await sender.send_async([webhook])
    answer = delivery.answer
    if delivery.lost:
        raise NotAcceptedError(answer.status, answer.text)
    return cast("dict[str, Any]", json.loads(answer.text))


@contextmanager
def _processes(options: Options, say: Say) -> Iterator[OpenBspStack]:
    tokens = Tokens()
    variables = {
        "BRIDGE_TOKENS": tokens.variable,
        "TOPIC_PREFIX": PREFIX,
        "TOPIC_PARTITIONS": str(PARTITIONS),
    }
    with running(services_python(options, say), variables) as line:
        addresses = Addresses(line["kafka"], line["schema_registry"], line["bridge"], line["views"])
        yield OpenBspStack(Backend.LOCAL, addresses, tokens)


@contextmanager
def _containers(options: Options, say: Say) -> Iterator[OpenBspStack]:
    # Of the extra `containers`.
    from testcontainers.core.network import Network  # noqa: PLC0415

    from openbsp_testkit.containers import KafkaContainer, RegistryContainer, ServiceContainer, Task  # noqa: PLC0415
    from openbsp_testkit.reaper import cleaned_up, label_of  # noqa: PLC0415

    run, tokens = secrets.token_hex(8), Tokens()
    labels, image = label_of(run), services_image(options)
    with ExitStack() as cleanup:
        cleanup.enter_context(cleaned_up(run, say))
        network = cleanup.enter_context(Network(docker_network_kw={"labels": labels}))
        kafka, registry = KafkaContainer(network, labels=labels), RegistryContainer(network, labels=labels)
        _start(cleanup, kafka, registry)
        servers = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers_inside,
            "SCHEMA_REGISTRY_URL": registry.url_inside,
            "TOPIC_PREFIX": PREFIX,
            "TOPIC_PARTITIONS": str(PARTITIONS),
            "TOPIC_REPLICATION_FACTOR": "1",
            "TOPIC_MIN_INSYNC_REPLICAS": "1",
        }
        prepare = ["sh", "-c", "bridge topics apply && bridge schemas register"]
        task = Task(network, "prepare", prepare, 8080, servers, image=image, labels=labels)
        cleanup.callback(task.stop)
        task.run()
        bridge = ServiceContainer(
            network,
            "bridge",
            ["bridge", "serve"],
            8080,
            {**servers, "BRIDGE_TOKENS": tokens.variable},
            image=image,
            labels=labels,
        )
        streams = ServiceContainer(
            network,
            "streams",
            ["streams", "worker"],
            8090,
            {**servers, "STREAMS_TOKENS": tokens.variable, "STREAMS_ADVERTISED_URL": "http://streams:8090"},
            image=image,
            labels=labels,
        )
        _start(cleanup, bridge, streams)
        yield OpenBspStack(
            Backend.CONTAINERS,
            Addresses(kafka.bootstrap_servers, registry.url, bridge.url, streams.url),
            tokens,
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
