"""The ingress as a process, with a real broker and a real registry."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka.admin import AdminClient

from avro import identity, jsontext
from openbsp.http.tokens.token_set import new_token
from openbsp.up.part import PythonPart
from support.consume import AvroReader, headers_of, read_all
from support.documented import DocumentedEvents
from support.environment import clean_environment
from support.topic_settings import change_settings
from support.wait import eventually

pytestmark = pytest.mark.integration

TOKEN = "token-of-the-tests"


def post(url: str, body: bytes | dict, token: str = TOKEN) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return httpx.post(f"{url}/webhooks", content=content, headers=headers, timeout=10, trust_env=False)


def get(url: str, path: str, token: str = TOKEN) -> httpx.Response:
    return httpx.get(f"{url}{path}", headers={"Authorization": f"Bearer {token}"}, timeout=10, trust_env=False)


def message(key: str, **columns: object) -> dict:
    return {"entity": "messages", "action": "insert", "data": {"id": key, **columns}}


def test_the_documented_events_are_in_their_topics_as_the_receipts_say(contract, start_bridge):
    bridge = start_bridge()
    bodies = DocumentedEvents().bodies
    receipts = [post(bridge.url, body).json() for body in bodies]
    reader = AvroReader(contract.registry.url)
    found = {
        (message.topic(), message.partition(), message.offset()): message
        for topic in ("messages", "conversations")
        for message in read_all(contract.kafka.bootstrap_servers, contract.topic(topic))
    }
    assert len(found) == 5
    for body, receipt in zip(bodies, receipts, strict=True):
        envelope = jsontext.decode(body)
        record = found[receipt["topic"], receipt["partition"], receipt["offset"]]
        fields = reader.value(record)
        headers = headers_of(record)
        assert receipt["disposition"] == "published"
        assert record.key().decode() == envelope["data"]["id"] == fields["id"] == headers["ce_subject"]
        assert fields["event_id"] == headers["ce_id"] == receipt["event_id"]
        assert receipt["event_id"] == identity.event_id(
            envelope["entity"], envelope["action"], jsontext.encode(envelope["data"])
        )
        assert fields["action"] == envelope["action"]
        assert headers["ce_specversion"] == "1.0"
        assert headers["ce_source"] == "openbsp"
        assert headers["ce_type"] == f"openbsp.{envelope['entity']}.{envelope['action']}"
        assert headers["content-type"] == "application/avro"


def test_a_key_is_in_the_partition_where_java_and_aiokafka_look_for_it(contract, start_bridge):
    bridge = start_bridge()
    keys = [f"id-{number}" for number in range(20)] + ["\u00e9/\U0001f600", " "]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda key: post(bridge.url, message(key)), keys))
    assert {answer.status_code for answer in answers} == {202}
    partitions = list(range(4))
    records = read_all(contract.kafka.bootstrap_servers, contract.topic("messages"))
    assert len({record.partition() for record in records}) > 1
    for record in records:
        assert record.partition() == DefaultPartitioner()(record.key(), partitions, partitions)


def test_dead_letters_can_be_read_and_hold_nothing_of_foreign_entities(contract, start_bridge):
    bridge = start_bridge()
    kept = json.dumps({"entity": "messages", "action": "insert", "data": {"id": 5}}).encode()
    assert post(bridge.url, kept).status_code == 422
    secret = {"entity": "organizations_addresses", "action": "insert", "data": {"extra": {"access_token": "EAAG"}}}
    assert post(bridge.url, secret).status_code == 422
    assert post(bridge.url, b"EAAG{").status_code == 400
    records = read_all(contract.kafka.bootstrap_servers, contract.topic("dead-letters"))
    reader = AvroReader(contract.registry.url)
    letters = {letter["reason"]: letter for letter in map(reader.value, records)}
    assert letters.keys() == {"invalid_event", "unsupported_entity", "malformed_json"}
    assert letters["invalid_event"]["payload"] == kept
    assert letters["unsupported_entity"]["payload"] is None
    assert letters["unsupported_entity"]["entity"] == "organizations_addresses"
    assert letters["malformed_json"]["payload"] is None
    assert all(b"EAAG" not in record.value() for record in records)


def test_a_record_that_the_broker_refuses_becomes_a_dead_letter_and_does_not_take_others_with_it(
    contract, start_bridge
):
    """A broker refuses whole batches; the events that were in one with a refused event are published."""
    bridge = start_bridge()
    admin = AdminClient(contract.kafka.librdkafka())
    change_settings(admin, contract.topic("messages"), max_message_bytes="1500")
    large = "".join(chr(0x4E00 + number % 20000) for number in range(3000))

    def send(number: int) -> httpx.Response:
        return post(bridge.url, message(f"m{number}", content=large if number == 20 else "small"))

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(send, range(40)))
    assert {answer.status_code for answer in answers} == {202}
    eventually(lambda: get(bridge.url, "/readyz").json()["spool"]["events"] == 0)
    published = {
        record.key().decode() for record in read_all(contract.kafka.bootstrap_servers, contract.topic("messages"))
    }
    assert published == {f"m{number}" for number in range(40)} - {"m20"}
    (record,) = read_all(contract.kafka.bootstrap_servers, contract.topic("dead-letters"))
    letter = AvroReader(contract.registry.url).value(record)
    assert letter["key"] == "m20"
    assert letter["reason"] == "broker_refused"
    assert letter["event_id"] == answers[20].json()["event_id"]


def bridge_command(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-P", "-m", "bridge", "serve", *arguments],
        env={**clean_environment(), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def environment(contract, tmp_path: Path) -> dict[str, str]:
    return {
        **contract.environment,
        "BRIDGE_TOKENS": f"tests={TOKEN}",
        "BRIDGE_SPOOL_DIR": str(tmp_path / "spool"),
        "BRIDGE_PORT": "0",
    }


def test_a_second_bridge_on_the_same_spool_does_not_start(start_bridge, environment, tmp_path: Path):
    bridge = start_bridge()
    refused = bridge_command(environment)
    assert refused.returncode == 1
    assert f"{tmp_path / 'spool' / 'spool-0.db'}: in use by process" in refused.stderr
    assert post(bridge.url, message("still here")).status_code == 202


def test_a_port_that_is_taken_is_told(start_bridge, environment, tmp_path: Path):
    bridge = start_bridge()
    taken = str(httpx.URL(bridge.url).port)
    refused = bridge_command({**environment, "BRIDGE_PORT": taken, "BRIDGE_SPOOL_DIR": str(tmp_path / "other")})
    assert refused.returncode == 1
    assert f"{taken}: Address already in use" in refused.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_starts_with_topics_that_differ_spools_and_says_so(start_bridge, workers: str):
    """What does not hinder taking webhooks never keeps the bridge from starting."""
    bridge = start_bridge(TOPIC_PARTITIONS="5", BRIDGE_WORKERS=workers)
    assert post(bridge.url, message("kept")).json()["disposition"] == "spooled"
    eventually(lambda: "4 partitions, the join needs TOPIC_PARTITIONS=5" in get(bridge.url, "/readyz").text)
    assert get(bridge.url, "/readyz").json()["status"] == "degraded"


def test_it_starts_without_topics_and_registered_schemas_spools_and_says_what_to_do(start_bridge):
    bridge = start_bridge(TOPIC_PREFIX="never-made.")
    assert post(bridge.url, message("kept")).json()["disposition"] == "spooled"
    for advice in ("schemas register", "topics apply"):
        eventually(lambda advice=advice: advice in get(bridge.url, "/readyz").text)
    assert get(bridge.url, "/readyz").json()["status"] == "degraded"


def test_sighup_reads_the_tokens_again(start_bridge, tmp_path: Path):
    file = tmp_path / "tokens"
    _, line = new_token("first")
    file.write_text(line)
    bridge = start_bridge(BRIDGE_TOKENS_FILE=str(file))
    second, line = new_token("second")
    file.write_text(line)
    os.kill(bridge.pid, signal.SIGHUP)
    eventually(lambda: post(bridge.url, message("x"), second).status_code == 202)


@pytest.fixture
def workers(start_bridge) -> PythonPart:
    return start_bridge(BRIDGE_WORKERS="2")


def children(pid: int) -> list[int]:
    """Return the workers of a supervisor, which are copies of it."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    return [int(child) for child in found if command_of(child) == command]


def command_of(pid: str) -> bytes:
    """Return the command line of a process, nothing if it has just ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def accepted(text: str) -> float:
    """Return how many webhooks were accepted. Trap: a worker that Kafka has not answered yet spools its own."""
    wanted = 'bridge_webhooks_total{action="insert",entity="messages",outcome='
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith((f'{wanted}"published"', f'{wanted}"spooled"'))
    )


def test_workers_share_the_load_and_any_of_them_tells_the_metrics_of_all(workers):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: post(workers.url, message(str(number))), range(200)))
    assert {answer.status_code for answer in answers} == {202}
    for _ in range(5):
        lines = get(workers.url, "/metrics").text.splitlines()
        # The other worker brings its numbers up to date once a second.
        eventually(lambda: accepted(get(workers.url, "/metrics").text) == 200)
        assert any(line.startswith("bridge_spool_events ") for line in lines)


def test_a_worker_that_is_killed_is_replaced_and_the_end_takes_all(workers):
    supervisor = workers.pid
    first = children(supervisor)
    assert len(first) == 2
    os.kill(first[0], signal.SIGKILL)
    eventually(lambda: len(set(children(supervisor)) - set(first)) == 1)
    eventually(lambda: post(workers.url, message("after")).status_code == 202)
    replaced = children(supervisor)
    workers.stop()
    assert workers.process.returncode == 0
    assert not [pid for pid in replaced if Path(f"/proc/{pid}").exists()]


def test_workers_end_when_their_supervisor_is_killed(workers):
    pids = children(workers.pid)
    assert len(pids) == 2
    os.kill(workers.pid, signal.SIGKILL)
    eventually(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()])


@pytest.mark.parametrize("filler", ["letters", "noise"])
def test_a_body_of_four_mebibytes_reaches_its_topic_and_a_larger_one_leaves_a_dead_letter(
    contract, start_bridge, filler
):
    bridge = start_bridge(BRIDGE_DEADLINE_S="4")
    # Noise does not become smaller by compression.
    text = "x" * 4_190_000 if filler == "letters" else os.urandom(4_190_000 // 2).hex()
    receipt = post(bridge.url, message("large", content={"text": text})).json()
    assert receipt["disposition"] == "published"
    (record,) = read_all(contract.kafka.bootstrap_servers, contract.topic("messages"))
    reader = AvroReader(contract.registry.url)
    assert json.loads(reader.value(record)["content"]) == {"text": text}
    answer = post(bridge.url, message("larger", content={"text": text + text}))
    assert (answer.status_code, answer.json()["reason"]) == (413, "too_large")
    (record,) = read_all(contract.kafka.bootstrap_servers, contract.topic("dead-letters"))
    letter = reader.value(record)
    assert (letter["entity"], letter["action"], letter["key"]) == ("messages", "insert", "larger")
    assert (letter["payload"], letter["payload_size"] > 8_000_000) == (None, True)
