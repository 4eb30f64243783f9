"""Real servers: a broker and a registry for the session, topics of its own for each test, our processes on demand.

All of them are containers or processes of this machine, as the head of the test run says (see openbsp_testkit.backend).
"""

import json
import secrets
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from avro.catalogue import TOPICS, topic_name
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.kafka.registry import Registry
from openbsp.kafka.topics import Topics
from openbsp.local.kafka import KafkaBroker
from openbsp.local.ports import free_ports
from openbsp.local.stack import LocalStack
from openbsp.up.part import PythonPart
from openbsp_testkit.backend import Backend
from support.docker.servers import ContainerPart, ContainerServers
from support.environment import clean_environment
from support.join_proxy import Proxy
from support.look import look
from support.wait import SESSION_S, eventually

TOKEN = "token-of-the-tests"
PARTITIONS = 4

Servers = LocalStack | ContainerServers
Part = PythonPart | ContainerPart
MakePart = Callable[..., Part]
StartPart = Callable[..., Part]


@pytest.fixture(scope="session")
def stack(openbsp_backend: Backend) -> Iterator[Servers]:
    """Run a broker and a registry from the first test that asks."""
    # Kafka's own least is 6 s: tests that wait until a session has ended would wait for that.
    properties = {"group.min.session.timeout.ms": SESSION_S * 1000}
    servers = (
        ContainerServers(properties)
        if openbsp_backend is Backend.CONTAINERS
        else LocalStack(kafka_properties=properties)
    )
    with servers as running:
        yield running


@dataclass(frozen=True)
class Contract:
    """The topics and subjects of one test: the catalogue's under a prefix that nobody else has."""

    kafka: KafkaSettings
    registry: RegistrySettings
    topics: TopicSettings

    @property
    def prefix(self) -> str:
        return self.topics.prefix

    def topic(self, name: str) -> str:
        """Return the full name of a catalogue topic."""
        return topic_name(self.prefix, name)

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that lead a process of ours here."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "SCHEMA_REGISTRY_URL": self.registry.url,
            "TOPIC_PREFIX": self.prefix,
            "TOPIC_PARTITIONS": str(self.topics.partitions),
            "TOPIC_REPLICATION_FACTOR": "1",
            "TOPIC_MIN_INSYNC_REPLICAS": "1",
        }


@pytest.fixture
def bare_contract(stack: Servers) -> Iterator[Contract]:
    """Choose a prefix that nobody else has; its topics and subjects do not exist yet."""
    contract = Contract(
        KafkaSettings(bootstrap_servers=stack.kafka),
        RegistrySettings(url=stack.registry),
        TopicSettings(
            prefix=f"t{secrets.token_hex(4)}.", partitions=PARTITIONS, replication_factor=1, min_insync_replicas=1
        ),
    )
    yield contract
    admin = AdminClient(contract.kafka.librdkafka())
    existing = admin.list_topics(timeout=10).topics
    if own := [name for name in map(contract.topic, TOPICS) if name in existing]:
        for deleted in admin.delete_topics(own).values():
            deleted.result(60)


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KafkaBroker, Proxy]]:
    """Run another broker, with a way to it that tests can hold up; yields both."""
    listener, port = free_ports(2)
    properties = {
        "listeners": f"SLOW://127.0.0.1:{listener}",
        "advertised.listeners": f"SLOW://127.0.0.1:{port}",
        "listener.security.protocol.map": "SLOW:PLAINTEXT",
        "group.min.session.timeout.ms": 1000,
    }
    with (
        KafkaBroker(tmp_path_factory.mktemp("kafka"), extra_properties=properties) as broker,
        Proxy(port, listener, records_only=True) as slow,
    ):
        yield broker, slow


@pytest.fixture
def here(network: tuple[KafkaBroker, Proxy], bare_contract: Contract) -> Contract:
    """Make the contract of this test on that broker.

    With one partition: clients send no more than five batches, each of one partition, before an answer comes.
    """
    broker, _ = network
    contract = replace(
        bare_contract,
        kafka=KafkaSettings(bootstrap_servers=broker.bootstrap_servers),
        topics=bare_contract.topics.model_copy(update={"partitions": 1}),
    )
    Topics(contract.kafka, contract.topics).apply()
    with Registry(contract.registry, contract.prefix) as registry:
        registry.register()
    return contract


@pytest.fixture
def topic_names() -> Collection[str]:
    """Name the topics that `contract` makes: all, unless a module whose tests need a few of them says which."""
    return TOPICS


@pytest.fixture
def contract(bare_contract: Contract, topic_names: Collection[str]) -> Contract:
    """Topics made and schemas registered, all of this test alone."""
    with ThreadPoolExecutor() as pool:
        made = pool.submit(make_topics, bare_contract, topic_names)
        # A registry on a busy machine is slow, and no test is about that here.
        patient = bare_contract.registry.model_copy(update={"timeout_s": 60})
        with Registry(patient, bare_contract.prefix) as registry:
            registry.register()
        made.result()
    return bare_contract


def make_topics(contract: Contract, names: Collection[str]) -> None:
    """Make topics of the catalogue, and return when clients see them."""
    if set(names) == set(TOPICS):
        Topics(contract.kafka, contract.topics).apply()
        return
    admin = AdminClient(contract.kafka.librdkafka())
    new = [NewTopic(contract.topic(name), PARTITIONS, 1, config=TOPICS[name].config()) for name in names]
    for made in admin.create_topics(new).values():
        made.result(60)
    eventually(lambda: {topic.topic for topic in new} <= admin.list_topics(timeout=10).topics.keys())


@pytest.fixture
def make_part(stack: Servers) -> MakePart:
    """Return what makes a process of ours: of the kind that the servers are of.

    A module whose processes have to reach something in the test's own returns PythonPart: servers in containers are
    reached from this machine as well.
    """
    return stack.part if isinstance(stack, ContainerServers) else PythonPart


@pytest.fixture
def start_bridge(make_part: MakePart, contract: Contract, tmp_path: Path) -> Iterator[StartPart]:
    """Start `bridge serve` on the test's topics and return it when it is ready; keyword arguments are variables.

    With the test's own servers and topics it publishes by then; led elsewhere it may have nothing but its spool.

    The spool is in `tmp_path / "spool"`; the token is `TOKEN`.
    """
    yield from _starter(
        make_part,
        "bridge",
        ["bridge", "serve"],
        {
            **contract.environment,
            "BRIDGE_TOKENS": f"tests={TOKEN}",
            "BRIDGE_SPOOL_DIR": str(tmp_path / "spool"),
        },
        tmp_path,
    )


@pytest.fixture
def start_streams(make_part: MakePart, contract: Contract, tmp_path: Path) -> Iterator[StartPart]:
    """Start `streams worker` on the test's topics and return it when it is ready; keyword arguments are variables.

    All workers of a test are of one application; each has a data directory of its own, or that of STREAMS_DATA_DIR.
    """
    yield from _starter(
        make_part,
        "streams",
        ["streams", "worker"],
        {
            **contract.environment,
            "STREAMS_TOKENS": f"tests={TOKEN}",
            "STREAMS_APP_ID": f"{contract.prefix}streams",
        },
        tmp_path,
    )


def _is_publishing(bridge: Part) -> bool:
    answer = look(f"{bridge.url}/readyz")
    return answer is not None and json.loads(answer[1])["status"] == "ready"


def _starter(
    make: MakePart, name: str, arguments: list[str], environment: dict[str, str], directory: Path
) -> Iterator[StartPart]:
    parts: list[Part] = []

    def start(**variables: str) -> Part:
        label = f"{name}-{len(parts) + 1}"
        defaults = {"STREAMS_DATA_DIR": str(directory / label)} if name == "streams" else {}
        part = make(
            label,
            arguments,
            variables=name.upper(),
            environment={**clean_environment(), **environment, **defaults, **variables},
            log=directory / f"{label}.log",
        )
        parts.append(part)
        part.start()
        elsewhere = any(key.startswith(("KAFKA_BOOTSTRAP", "SCHEMA_REGISTRY", "TOPIC")) for key in variables)
        if name == "bridge" and not elsewhere:
            # Trap: while its servers have not answered, it takes webhooks already, and spools them.
            eventually(lambda: _is_publishing(part), within=60)
        return part

    try:
        yield start
    finally:
        for part in reversed(parts):
            part.stop()
        for part in parts:
            # Shown with a test that failed.
            print(f"--- {part.name}\n{(directory / f'{part.name}.log').read_text('utf-8', 'replace')}")
