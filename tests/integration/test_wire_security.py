"""Both processes on a broker that asks who they are: the right password works, a wrong one is said and never shown."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import openbsp.kafka.topics
from openbsp.errors import KafkaUnavailableError
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.kafka.registry import Registry
from openbsp.kafka.topics import Topics
from openbsp.local.ports import free_ports
from openbsp.local.stack import LocalStack
from openbsp.up.part import PythonPart
from support.documented import DocumentedEvents
from support.environment import clean_environment
from support.wait import eventually

pytestmark = pytest.mark.integration

TOKEN = "token-of-the-tests"
PASSWORD = "s3crét-of-alice"


@pytest.fixture(scope="module")
def secured() -> Iterator[tuple[LocalStack, str]]:
    """Run a broker with a listener for SASL beside its own; return the stack and that listener's address."""
    (port,) = free_ports(1)
    listener = f"SASL://127.0.0.1:{port}"
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
    properties = {
        "listeners": listener,
        "advertised.listeners": listener,
        "listener.security.protocol.map": "SASL:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl.plain.sasl.jaas.config": f'{plain} required user_alice="{PASSWORD}";',
    }
    with LocalStack(kafka_properties=properties) as stack:
        yield stack, f"127.0.0.1:{port}"


def environment(stack: LocalStack, address: str, password: str) -> dict[str, str]:
    return clean_environment() | {
        "KAFKA_BOOTSTRAP_SERVERS": address,
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "alice",
        "KAFKA_SASL_PASSWORD": password,
        "SCHEMA_REGISTRY_URL": stack.registry,
        "TOPIC_PARTITIONS": "2",
        "TOPIC_REPLICATION_FACTOR": "1",
        "TOPIC_MIN_INSYNC_REPLICAS": "1",
    }


def test_the_five_payloads_pass_a_broker_that_wants_a_password(secured: tuple[LocalStack, str], tmp_path: Path) -> None:
    stack, address = secured
    events = DocumentedEvents()
    kafka = KafkaSettings(
        bootstrap_servers=address,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username="alice",
        sasl_password=PASSWORD,
    )
    topics = TopicSettings(partitions=2, replication_factor=1, min_insync_replicas=1)
    Topics(kafka, topics).apply()
    with Registry(RegistrySettings(url=stack.registry), topics.prefix) as registry:
        registry.register()
    variables = environment(stack, address, PASSWORD)
    bridge = PythonPart(
        "bridge",
        ["bridge", "serve"],
        variables="BRIDGE",
        environment=variables | {"BRIDGE_TOKENS": f"tests={TOKEN}", "BRIDGE_SPOOL_DIR": str(tmp_path / "spool")},
        log=tmp_path / "bridge.log",
    )
    streams = PythonPart(
        "streams",
        ["streams", "worker"],
        variables="STREAMS",
        environment=variables | {"STREAMS_TOKENS": f"tests={TOKEN}", "STREAMS_STORE": "memory"},
        log=tmp_path / "streams.log",
    )
    try:
        bridge.start()
        streams.start()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        for body in events.bodies:
            answer = httpx.post(f"{bridge.url}/webhooks", content=body, headers=headers, timeout=10, trust_env=False)
            assert answer.json()["disposition"] in {"published", "spooled"}
        url = f"{streams.url}/conversations/{events.conversation}"

        def complete() -> bool:
            view = httpx.get(url, headers=headers, timeout=10, trust_env=False)
            return view.status_code == httpx.codes.OK and not events.contradictions(view.json())

        eventually(complete)
    finally:
        streams.stop()
        bridge.stop()


def test_a_wrong_password_is_said_and_never_shown(
    secured: tuple[LocalStack, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once: an answer that is waited for does not come."""
    stack, address = secured
    refused = subprocess.run(
        [Path(sys.executable).with_name("bridge"), "topics", "check"],
        env=environment(stack, address, "not-the-password"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1
    assert "uthentication" in refused.stderr
    assert "not-the-password" not in refused.stderr + refused.stdout
    monkeypatch.setattr(openbsp.kafka.topics, "_TIMEOUT_S", 3_000.0)
    with pytest.raises(KafkaUnavailableError, match="uthentication"):
        Topics(
            KafkaSettings(
                bootstrap_servers=address,
                security_protocol="SASL_PLAINTEXT",
                sasl_mechanism="PLAIN",
                sasl_username="alice",
                sasl_password="not-the-password",
            ),
            TopicSettings(),
        ).check()
