"""The local stack: real servers that keep their data, leave nothing running, and say what is wrong."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

import openbsp.local.server
from openbsp.local.errors import DataDirectoryError, DataDirectoryInUseError, PortInUseError, StartError
from openbsp.local.kafka import KafkaBroker
from openbsp.local.ports import free_ports
from openbsp.local.registry import SchemaRegistry
from openbsp.local.server import JavaServer
from openbsp.local.stack import LocalStack

pytestmark = pytest.mark.integration

TOPIC = "letters"
SUBJECT = "letters-value"
SCHEMA = Schema('{"type": "record", "name": "Letter", "fields": [{"name": "text", "type": "string"}]}', "AVRO")
CHANGED = Schema('{"type": "record", "name": "Letter", "fields": [{"name": "text", "type": "long"}]}', "AVRO")
QUIET = {"log_level": 0}


def admin(kafka: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": kafka, **QUIET})


def create_topic(kafka: str) -> None:
    client = admin(kafka)  # must live until the result is there
    client.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result(20)


def produce(kafka: str, text: str) -> None:
    failures: list[object] = []
    producer = Producer(
        {
            "bootstrap.servers": kafka,
            "acks": "all",
            "message.timeout.ms": 20_000,
            "message.max.bytes": 16 << 20,
            **QUIET,
        }
    )
    producer.produce(TOPIC, text.encode(), on_delivery=lambda error, _: failures.append(error) if error else None)
    assert producer.flush(20) == 0
    assert failures == []


def consume(kafka: str, count: int) -> list[str]:
    """Read the first `count` records of the topic."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "reader", **QUIET})
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    try:
        messages = consumer.consume(count, 20)
        return [message.value().decode() for message in messages]
    finally:
        consumer.close()


@contextmanager
def registry(url: str) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": url, "timeout": 10}) as client:
        yield client


def register(url: str) -> int:
    """Register the schema, or find it: the id is the answer in both cases."""
    with registry(url) as client:
        return client.register_schema(SUBJECT, SCHEMA)


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.01)


def running(pids: list[int]) -> list[int]:
    """Return those that have not ended; a zombie has."""
    return [
        process.pid
        for process in psutil.process_iter()
        if process.pid in pids and process.status() != psutil.STATUS_ZOMBIE
    ]


@contextmanager
def command(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str], list[int]]]:
    """Run `python -m openbsp.local`: the process, the addresses that it printed, and the pids of its servers."""
    with subprocess.Popen(
        [sys.executable, "-m", "openbsp.local", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline().rsplit(maxsplit=1) for _ in range(2)]
            addresses = {name.strip(): address for name, address in lines}
            pids = [int(word.strip(",")) for word in process.stdout.readline().split() if word.strip(",").isdigit()]
            yield process, addresses, pids
        finally:
            process.kill()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="module")
def stack(directory: Path) -> Iterator[LocalStack]:
    with LocalStack(directory) as stack:
        yield stack


def test_a_second_start_on_other_ports_finds_the_data_of_the_first(tmp_path: Path) -> None:
    with LocalStack(tmp_path) as stack:
        first = (stack.kafka, stack.registry)
        create_topic(stack.kafka)
        produce(stack.kafka, "one")
        schema_id = register(stack.registry)
        pids = list(stack.pids.values())
        assert running(pids) != []
    assert running(pids) == []

    with LocalStack(tmp_path) as stack:
        assert not {stack.kafka, stack.registry} & set(first)
        produce(stack.kafka, "two")
        assert consume(stack.kafka, 2) == ["one", "two"]
        assert register(stack.registry) == schema_id
        with registry(stack.registry) as client:
            assert json.loads(client.get_schema(schema_id).schema_str) == json.loads(SCHEMA.schema_str)


def test_when_the_parent_is_killed_no_child_is_left_and_nothing_is_lost(tmp_path: Path) -> None:
    with command("--data", str(tmp_path)) as (process, addresses, pids):
        assert len(running(pids)) == 2
        create_topic(addresses["kafka"])
        produce(addresses["kafka"], "one")
        schema_id = register(addresses["schema registry"])
        process.kill()
    wait_until(lambda: running(pids) == [])

    with LocalStack(tmp_path) as stack:
        assert consume(stack.kafka, 1) == ["one"]
        assert register(stack.registry) == schema_id


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_stops_in_order(number: signal.Signals) -> None:
    with command() as (process, _, pids):
        process.send_signal(number)
        assert process.wait(60) == 0
        wait_until(lambda: running(pids) == [])


def test_a_directory_in_use_is_refused(stack: LocalStack, directory: Path) -> None:
    with pytest.raises(DataDirectoryInUseError, match=f"process {os.getpid()}"), LocalStack(directory):
        pass
    assert admin(stack.kafka).list_topics(timeout=10).brokers


def test_a_given_port_in_use_is_refused(stack: LocalStack, tmp_path: Path) -> None:
    with pytest.raises(PortInUseError, match=f"kafka: port {stack.broker.port}"):
        KafkaBroker(tmp_path, port=stack.broker.port).start()


def test_no_topic_is_made_by_asking_for_it(stack: LocalStack) -> None:
    admin(stack.kafka).list_topics("nobody-made-this", timeout=10)
    assert "nobody-made-this" not in admin(stack.kafka).list_topics(timeout=10).topics


def test_records_may_have_16_mib(stack: LocalStack) -> None:
    create_topic(stack.kafka)
    produce(stack.kafka, "x" * (16 * 1024 * 1024 - 1000))


def test_the_registry_refuses_incompatible_schemas_as_confluents_does(stack: LocalStack) -> None:
    register(stack.registry)
    with registry(stack.registry) as client:
        assert client.get_config().compatibility_level == "BACKWARD"
        assert not client.test_compatibility(SUBJECT, CHANGED)


def test_a_killed_broker_comes_back_on_its_port_with_its_data_and_extra_listeners(tmp_path: Path) -> None:
    (sasl_port,) = free_ports(1)
    listener = f"SASL://127.0.0.1:{sasl_port}"
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    broker = KafkaBroker(
        tmp_path,
        extra_properties={
            "listeners": listener,
            "advertised.listeners": listener,
            "listener.security.protocol.map": "SASL:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl.plain.sasl.jaas.config": f'{module} required user_alice="s3crét";',
        },
    )
    with broker:
        address, pid = broker.bootstrap_servers, broker.pid
        create_topic(address)
        produce(address, "one")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not broker.running)
        broker.start()
        assert broker.bootstrap_servers == address
        assert broker.pid != pid
        assert consume(address, 1) == ["one"]

        alice = {
            "bootstrap.servers": f"127.0.0.1:{sasl_port}",
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "alice",
            "sasl.password": "s3crét",
        }
        assert TOPIC in AdminClient({**alice, **QUIET}).list_topics(timeout=10).topics
        with pytest.raises(KafkaException):
            AdminClient({**alice, "sasl.password": "wrong", **QUIET}).list_topics(timeout=1)
    assert not broker.running


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    broker = KafkaBroker(tmp_path, extra_properties={"num.network.threads": "many"})
    with pytest.raises(StartError, match=r"(?s)kafka .*num\.network\.threads"):
        broker.start()
    assert not broker.running


class Stranger(BaseHTTPRequestHandler):
    """Answers like a registry without subjects."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("server", [KafkaBroker, SchemaRegistry])
def test_a_port_that_somebody_took_in_the_meantime_is_replaced(
    server: type[JavaServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        thread = threading.Thread(target=stranger.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        choices = [stranger.server_port]
        monkeypatch.setattr(
            openbsp.local.server, "free_ports", lambda count: [choices.pop()] if choices else free_ports(count)
        )
        try:
            with server(tmp_path) as started:
                assert choices == []
                assert started.port != stranger.server_port
        finally:
            stranger.shutdown()
            thread.join()


def test_a_data_directory_that_cannot_be_made_is_an_error_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataDirectoryError, match=r"file/kafka cannot be used: Not a directory"):
        KafkaBroker(tmp_path / "file" / "kafka").start()
