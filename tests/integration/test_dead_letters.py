"""`bridge dead-letters` with a real bridge and worker: a dead letter of every reason, explained and redriven."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import httpx
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from avro import codec, instants, writers
from avro.catalogue import MAX_MESSAGE_BYTES
from avro.dead_letters import DeadLetters
from bridge.cluster import Cluster
from bridge.dead_letters import commands
from bridge.dead_letters.letters import Wanted
from bridge.dead_letters.reasons import EXPLANATIONS
from openbsp.kafka.registry import Registry
from streams.limits import ID_BYTES
from support.consume import AvroReader, headers_of, read_all
from support.topic_settings import change_settings
from support.wait import eventually

pytestmark = pytest.mark.integration

TOKEN = "token-of-the-tests"
BOUND_TOKEN = "token-of-one-organization"
SMALL_BYTES = 1500
#: By the reason: events that can be read now.
MENDED = {
    "invalid_event": "m-valid",
    "unknown_schema": "m-schema-known",
    "wrong_subject": "m-subject-right",
    "undecodable": "m-decodes",
}
LARGE = "".join(chr(0x4E00 + number % 20000) for number in range(3000))


def post(url: str, body: object, token: str = TOKEN) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return httpx.post(f"{url}/webhooks", content=content, headers=headers, timeout=10, trust_env=False)


def message(key: str, **columns: object) -> dict:
    data = {"id": key, "organization_id": "org-1", "created_at": "2026-05-06T03:39:23.104211-05:00", **columns}
    return {"entity": "messages", "action": "insert", "data": data}


def limit_records(contract, size: int) -> None:
    """Set how large a record of the messages may be."""
    admin = AdminClient(contract.kafka.librdkafka())
    change_settings(admin, contract.topic("messages"), max_message_bytes=str(size))


def write_foreign_records(contract, ids: Mapping[str, int]) -> None:
    """Write what the worker refuses, as only something else than the bridge would."""
    encode = codec.encoder("MessageEvent", ids["MessageEvent"])

    def value(key: str, **fields: object) -> bytes:
        about = {"event_id": "x", "action": "insert", "received_at": instants.now(), "extra": {}, "nulls": []}
        return encode({**about, "id": key, **fields})

    conversation = codec.encoder("ConversationEvent", ids["ConversationEvent"])(
        {"event_id": "x", "action": "insert", "received_at": 0, "extra": {}, "nulls": [], "id": "m-subject"}
    )
    schema = ids["MessageEvent"].to_bytes(4, "big")
    producer = Producer({**contract.kafka.librdkafka(), "message.max.bytes": MAX_MESSAGE_BYTES})
    nobody = [(writers.NAME, b" ")]
    for key, content, *headers in (
        (None, value("m-no-key")),
        (b"\xff", value("m-bad-key")),
        (b"another", value("m-mismatch")),
        (b"m-wire", b"no Avro\x1b[2J"),
        (b"m-schema", b"\x00\x7f\xff\xff\xff" + b"x"),
        (b"m-subject", conversation),
        (b"m-cut", b"\x00" + schema + b"\x02"),
        (b"m-range", value("m-range", created_at=instants.LAST + 1)),
        (b"k" * (ID_BYTES + 1), value("m-large-key")),
        (b"m-header", value("m-header"), nobody),
    ):
        producer.produce(
            contract.topic("messages"), key=key, value=content, headers=headers[0] if headers else None, partition=0
        )
    assert producer.flush(10) == 0


def write_dead_letters(contract, ids: Mapping[str, int]) -> None:
    """Write those for which a worker would have to die, or a contact to be erased: their own tests make them so."""
    about = {"event_id": "x", "action": "insert", "received_at": instants.now()}
    ended = codec.encoder("MessageEvent", ids["MessageEvent"])({**about, "id": "m-ends", "extra": {}, "nulls": []})
    place = {"topic": contract.topic("messages"), "partition": 0, "offset": 0}
    records = DeadLetters("tests", ids["DeadLetter"])
    producer = Producer(contract.kafka.librdkafka())
    for fields in (
        {"origin": "streams", "reason": "ends_worker", **place, "payload": ended, "payload_size": len(ended)},
        {"origin": "webhook", "reason": "suppressed", "entity": "messages", "payload_size": 9},
        {"origin": "bridge", "reason": "suppressed", "entity": "messages"},
    ):
        value, headers = records.record({"detail": "a test's", **about, **fields})
        producer.produce(contract.topic("dead-letters"), value=value, headers=headers)
    assert producer.flush(10) == 0


def write_mended(contract, ids: Mapping[str, int]) -> None:
    """Write dead letters of what was refused once, and is right now: the registry was repaired, the bridge upgraded."""
    about = {"event_id": "x", "action": "insert", "received_at": instants.now()}
    encode = codec.encoder("MessageEvent", ids["MessageEvent"])
    records = DeadLetters("tests", ids["DeadLetter"])
    producer = Producer(contract.kafka.librdkafka())
    for reason, key in MENDED.items():
        place: dict = {"origin": "streams", "topic": contract.topic("messages"), "partition": 0, "offset": 0}
        payload = encode({**about, "id": key, "extra": {}, "nulls": []})
        if reason == "invalid_event":
            place, payload = {"origin": "webhook"}, json.dumps(message(key)).encode()
        fields = {"detail": "a test's", "reason": reason, "payload": payload, "payload_size": len(payload)}
        value, headers = records.record({**about, **place, **fields})
        producer.produce(contract.topic("dead-letters"), value=value, headers=headers)
    assert producer.flush(10) == 0


def post_refused_webhooks(url: str) -> None:
    assert post(url, b"{").status_code == 400
    assert post(url, {"entity": "messages", "action": "insert", "data": {"id": 5}}).status_code == 422
    assert post(url, {"entity": "tokens", "action": "insert", "data": {"id": "s"}}).status_code == 422
    assert post(url, message("m-foreign"), BOUND_TOKEN).status_code == 403
    assert post(url, message("m-large", content="x" * 20_000)).status_code == 413


def bridge(contract, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    own = ("BRIDGE_", "KAFKA_", "SCHEMA_REGISTRY_", "TOPIC_")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    return subprocess.run(
        [sys.executable, "-P", "-m", "bridge", "dead-letters", *arguments],
        env={**inherited, **contract.environment, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def assert_shown(contract, position: str, id_: str) -> None:
    """Have the command show a dead letter of that id, and say where there is none."""
    shown = bridge(contract, "show", position, "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["redrive"]["id"] == id_
    nowhere = bridge(contract, "show", "0:999999")
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert "there is no dead letter" in nowhere.stderr


def assert_published(contract, before: int, event_ids: list[str]) -> None:
    """Each of them is a record of the messages, one for each time that it was redriven."""
    reader = AvroReader(contract.registry.url)
    records = read_all(contract.kafka.bootstrap_servers, contract.topic("messages"))
    redriven = [record for record in records if "ce_redriven" in headers_of(record)]
    assert len(records) - before == len(redriven)
    found = [reader.value(record) for record in redriven]
    assert sorted(fields["event_id"] for fields in found) == sorted(event_ids)
    for record, fields in zip(redriven, found, strict=True):
        assert fields["id"] == record.key().decode()
        if fields["id"] in {"m-refused", "m-old"}:
            assert json.loads(fields["content"]) == LARGE
            assert fields["created_at"].isoformat() == "2026-05-06T08:39:23.104211+00:00"


def test_a_dead_letter_of_each_reason_is_listed_explained_and_redriven_where_it_can_be(
    contract, start_bridge, start_streams, capsys, tmp_path
):
    registry = Registry(contract.registry, contract.prefix)
    cluster = Cluster(contract.kafka, registry, contract.topics)

    def letters() -> list[dict]:
        commands.list_letters(cluster, Wanted(), 1, as_json=True)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    def of(reason: str) -> list[dict]:
        return sorted(
            (letter for letter in letters() if letter["reason"] == reason), key=lambda letter: letter["redriven"]
        )

    tokens = f"tests={TOKEN},bound={BOUND_TOKEN}@another"
    ingress = start_bridge(BRIDGE_MAX_BODY_BYTES="20000", BRIDGE_TOKENS=tokens)
    impatient = start_bridge(BRIDGE_SPOOL_MAX_AGE_S="0.001", BRIDGE_SPOOL_DIR=str(tmp_path / "impatient"))
    start_streams()
    write_foreign_records(contract, registry.ids())
    write_dead_letters(contract, registry.ids())
    limit_records(contract, SMALL_BYTES)
    post_refused_webhooks(ingress.url)
    assert post(ingress.url, message("m-refused", content=LARGE)).status_code == 202
    assert post(impatient.url, message("m-old", content=LARGE)).status_code == 202

    def kinds() -> set[tuple[str, str]]:
        return {(letter["origin"], letter["reason"]) for letter in letters()}

    # Every reason that this project has an explanation for.
    eventually(lambda: kinds() == EXPLANATIONS.keys(), every=0.5)
    for letter in letters():
        assert commands.show_letter(cluster, letter["position"], as_json=False, all_bytes=False)
        shown = " ".join(capsys.readouterr().out.split())
        assert EXPLANATIONS[letter["origin"], letter["reason"]].meaning in shown
        assert EXPLANATIONS[letter["origin"], letter["reason"]].advice in shown
        assert "\x1b" not in shown
    table = bridge(contract, "list", "--reason", "wrong_organization", "--since", "1h")
    assert table.returncode == 0, table.stderr
    assert "m-foreign" in table.stdout
    assert "m-refused" not in table.stdout

    # What is refused again says how often that was.
    (first,) = of("broker_refused")
    assert_shown(contract, first["position"], "m-refused")
    options = ("--execute", "--url", ingress.url)
    done = bridge(contract, "redrive", first["position"], *options, BRIDGE_TOKEN=TOKEN)
    assert (done.returncode, done.stdout) == (0, "1 spooled\n"), done.stderr
    eventually(lambda: [letter["redriven"] for letter in of("broker_refused")] == [0, 1], every=0.5)

    # Once the cause is gone, they are events like all others.
    limit_records(contract, MAX_MESSAGE_BYTES)
    write_mended(contract, registry.ids())
    planned = [json.loads(line) for line in bridge(contract, "redrive", "--json").stdout.splitlines()]
    possible = {letter["redrive"]["id"] for letter in planned if letter["redrive"]["possible"]}
    assert possible == {"m-no-key", "m-bad-key", "m-mismatch", "m-refused", "m-old", "m-ends", *MENDED.values()}
    assert all(letter["redrive"]["why"] for letter in planned if not letter["redrive"]["possible"])
    before = len(read_all(contract.kafka.bootstrap_servers, contract.topic("messages")))
    runs = [
        bridge(contract, "redrive", "--execute", "--url", ingress.url, "--token", TOKEN, *options)
        for options in ([], ["--reason", "broker_refused", "--reason", "no_key"])
    ]
    assert [run.returncode for run in runs] == [0, 0], runs
    audit = [[json.loads(line) for line in run.stderr.splitlines()] for run in runs]
    sent = [
        {line["position"]: line["event_id"] for line in lines if line["event"] == "dead_letters.redriven"}
        for lines in audit
    ]
    # Of one event the dead letter that was redriven most often stands for all of them.
    again = of("broker_refused")[1]
    assert {first["position"], again["position"]} & sent[1].keys() == {again["position"]}
    assert sent[1].items() <= sent[0].items(), "the same dead letter redriven twice is the same event"
    assert_published(contract, before, [*sent[0].values(), *sent[1].values()])
    registry.close()
