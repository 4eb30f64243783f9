"""`bridge erase` with a real bridge and worker: a person is gone from states and views, everybody else is as before."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from avro.catalogue import TOPICS
from support.consume import AvroReader, newest_by_key, read_all
from support.wait import eventually

pytestmark = pytest.mark.integration

TOKEN = "token-of-the-tests"
ORGANIZATION = "org-1"
ERASED = {("messages", "m1"), ("messages", "m2"), ("messages", "m3"), ("conversations", "c1")}


def erase(contract, *arguments: str) -> subprocess.CompletedProcess:
    own = ("BRIDGE_", "KAFKA_", "SCHEMA_REGISTRY_", "TOPIC_")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    return subprocess.run(
        [sys.executable, "-P", "-m", "bridge", "erase", *arguments],
        env={**inherited, **contract.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_contact_is_gone_everywhere_that_can_be_asked_and_nobody_else_is(contract, start_bridge, start_streams):
    bridge, streams = start_bridge(), start_streams()
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def post(entity: str, row_id: str, **columns: object) -> dict:
        times = dict.fromkeys(("created_at", "updated_at", "timestamp"), "2026-05-06T03:39:23+00:00")
        row = {"id": row_id, "organization_id": ORGANIZATION, "service": "whatsapp", **times, **columns}
        body = {"entity": entity, "action": "insert", "data": row}
        answer = httpx.post(f"{bridge.url}/webhooks", json=body, headers=headers, timeout=10, trust_env=False)
        assert answer.status_code in {202, 422}
        return answer.json()

    def status(entity: str, row_id: str) -> int:
        return httpx.get(f"{streams.url}/{entity}/{row_id}", headers=headers, timeout=10, trust_env=False).status_code

    def states(topic: str) -> dict[str, bytes | None]:
        records = read_all(contract.kafka.bootstrap_servers, contract.topic(topic))
        return {key: record.value() for key, record in newest_by_key(records).items()}

    post("conversations", "c1", contact_address="+100")
    post("conversations", "c2", contact_address="+200")
    for message, conversation, contact in (("m1", "c1", "+100"), ("m2", "c1", "+100"), ("m4", "c2", "+200")):
        post("messages", message, conversation_id=conversation, contact_address=contact, direction="incoming")
    # In somebody else's conversation, such as a group.
    post("messages", "m3", conversation_id="c2", contact_address="+100", direction="incoming")
    post("messages", "", contact_address="+100", note="no id: a dead letter")
    everything = [*ERASED, ("messages", "m4"), ("conversations", "c2")]
    eventually(lambda: all(status(*row) == 200 for row in everything), every=0.3)
    before = states("message-state")

    planned = json.loads(erase(contract, "--contact", "+100", "--json", "--url", bridge.url, "--token", TOKEN).stdout)
    assert {(row["entity"], row["id"]) for row in planned["rows"]} == ERASED
    assert planned["done"] is False
    assert all(status(*row) == 200 for row in everything), "a plan changes nothing"

    servers = ("--url", bridge.url, "--token", TOKEN, "--views", streams.url, "--views-token", TOKEN)
    begun = datetime.now(UTC)
    done = erase(contract, "--contact", "+100", "--json", "--execute", *servers)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {(row["entity"], row["id"]) for row in report["rows"]} == ERASED
    assert report["left"] == []
    assert [status(*row) for row in sorted(ERASED)] == [404] * 4
    after = states("message-state")
    assert [after[row_id] for row_id in ("m1", "m2", "m3")] == [None] * 3
    assert states("conversation-state")["c1"] is None
    assert after["m4"] == before["m4"]
    assert status("conversations", "c2") == 200

    reader = AvroReader(contract.registry.url)
    events = [
        reader.value(record)
        for topic in ("messages", "conversations")
        for record in read_all(contract.kafka.bootstrap_servers, contract.topic(topic))
    ]
    assert {fields["id"] for fields in events if fields["action"] == "delete"} == {row_id for _, row_id in ERASED}
    places = {place["name"]: place for place in report["places"]}
    assert places.keys() >= TOPICS.keys()
    assert len(report["dead_letters"]) == 1
    for topic, days in (
        ("message-state", 1),
        ("streams-messages-changelog", 1),
        ("messages", 30),
        ("dead-letters", 90),
    ):
        until = datetime.fromisoformat(places[topic]["until"])
        assert begun + timedelta(days=days) <= until <= begun + timedelta(days=days + 8)

    # Again, and of a message that nobody knows: it must not come later either.
    assert erase(contract, "--conversation", "c1", "--message", "m9", "--execute", *servers).returncode == 0
    receipt = post("messages", "m9", conversation_id="c2", contact_address="+100", direction="incoming")
    taken = "{topic}:{partition}:{offset}".format(**receipt)
    assert status("messages", f"m9?after={taken}") == 404
