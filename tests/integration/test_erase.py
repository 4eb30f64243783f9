"""`bridge erase` with a real bridge and worker: a person is gone from states and views, everybody else is as before."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from avro.catalogue import TOPICS
from support.bridge_process import Bridge
from support.consume import AvroReader, newest_by_key, read_all
from support.environment import clean_environment
from support.join_outcome import await_committed
from support.wait import eventually

pytestmark = pytest.mark.integration

TOKEN = "token-of-the-tests"
ORGANIZATION = "org-1"
KEY = "the key of a deployment, for tests alone"
SHOWN = {("messages", "m1"), ("messages", "m2"), ("messages", "m3"), ("conversations", "c1")}


def made(address: str) -> str:
    """Return the id of an address, as the contract says that it is made."""
    of = json.dumps([ORGANIZATION, "whatsapp", address], separators=(",", ":"))
    return f"{ORGANIZATION}:{sha256(of.encode()).hexdigest()}"


ERASED = SHOWN | {("contacts", "contact-1"), ("contacts_addresses", made("+100"))}


def erase(contract, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-P", "-m", "bridge", "erase", *arguments],
        env={**clean_environment(), **contract.environment, "BRIDGE_SUPPRESSION_KEY": KEY},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


class World:
    """A bridge and a worker, and what people see of them."""

    def __init__(self, contract, bridge, streams) -> None:
        self.contract = contract
        self.bridge = bridge
        self.streams = streams
        self.headers = {"Authorization": f"Bearer {TOKEN}"}
        self.servers = ("--url", bridge.url, "--token", TOKEN, "--views", streams.url, "--views-token", TOKEN)

    def post(self, entity: str, row_id: str | None, **columns: object) -> dict:
        times = dict.fromkeys(("created_at", "updated_at", "timestamp"), "2026-05-06T03:39:23+00:00")
        row = {"id": row_id, "organization_id": ORGANIZATION, "service": "whatsapp", **times, **columns}
        if row_id is None:
            del row["id"]
        body = {"entity": entity, "action": "insert", "data": row}
        url = f"{self.bridge.url}/webhooks"
        answer = httpx.post(url, json=body, headers=self.headers, timeout=10, trust_env=False)
        assert answer.status_code in {202, 422}
        return answer.json()

    def status(self, entity: str, row_id: str) -> int:
        url = f"{self.streams.url}/{entity}/{row_id}"
        return httpx.get(url, headers=self.headers, timeout=10, trust_env=False).status_code

    def name(self, conversation: str) -> str | None:
        url = f"{self.streams.url}/conversations/{conversation}"
        contact = httpx.get(url, headers=self.headers, timeout=10, trust_env=False).json()["contact"]
        return None if contact is None else contact["name"]

    def records(self, topic: str) -> list:
        return read_all(self.contract.kafka.bootstrap_servers, self.contract.topic(topic))

    def states(self, topic: str) -> dict[str, bytes | None]:
        return {key: record.value() for key, record in newest_by_key(self.records(topic)).items()}

    def erase(self, *arguments: str) -> tuple[int, dict]:
        done = erase(self.contract, *arguments, "--json", *self.servers)
        print(done.stderr)
        return done.returncode, json.loads(done.stdout)


def test_a_contact_is_gone_everywhere_that_can_be_asked_and_nobody_else_is(  # noqa: PLR0915 one history
    contract, start_bridge, start_streams, tmp_path
):
    world = World(contract, start_bridge(BRIDGE_SUPPRESSION_KEY=KEY), start_streams())
    status, post = world.status, world.post
    post("conversations", "c1", contact_address="+100")
    post("conversations", "c2", contact_address="+200")
    for message, conversation, contact in (("m1", "c1", "+100"), ("m2", "c1", "+100"), ("m4", "c2", "+200")):
        post("messages", message, conversation_id=conversation, contact_address=contact, direction="incoming")
    # In somebody else's conversation, such as a group.
    post("messages", "m3", conversation_id="c2", contact_address="+100", direction="incoming")
    post("messages", "", contact_address="+100", note="no id: a dead letter")
    # The person has another address, at which somebody writes whom nobody erases.
    post("contacts", "contact-1", name="Ana Ruiz")
    for address in ("+100", "+200"):
        post("contacts_addresses", None, address=address, contact_id="contact-1", extra={"name": f"~{address}"})
    everything = [*SHOWN, ("messages", "m4"), ("conversations", "c2")]
    eventually(lambda: all(status(*row) == 200 for row in everything), every=0.3)
    eventually(lambda: [world.name(row_id) for row_id in ("c1", "c2")] == ["Ana Ruiz"] * 2, every=0.3)
    # Trap: a view has a state a moment before its topic does.
    await_committed(contract)
    before = world.states("message-state")

    code, planned = world.erase("--contact", "+100")
    assert code == 0
    assert {(row["entity"], row["id"]) for row in planned["rows"]} == ERASED
    assert planned["done"] is False
    assert all(status(*row) == 200 for row in everything), "a plan changes nothing"

    begun = datetime.now(UTC)
    code, report = world.erase("--contact", "+100", "--execute")
    assert (code, report["left"]) == (0, [])
    assert {(row["entity"], row["id"]) for row in report["rows"]} == ERASED
    assert [status(*row) for row in sorted(SHOWN)] == [404] * 4
    assert world.name("c2") == "~+200", "the name was of the contact's row"
    after = world.states("message-state")
    assert [after[row_id] for row_id in ("m1", "m2", "m3")] == [None] * 3
    assert world.states("conversation-state")["c1"] is None
    assert after["m4"] == before["m4"]
    assert status("conversations", "c2") == 200

    reader = AvroReader(contract.registry.url)
    topics = [name for name, topic in TOPICS.items() if str(topic.schema).endswith("Event")]
    events = [reader.value(record) for topic in topics for record in world.records(topic)]
    deletes = [fields for fields in events if fields["action"] == "delete"]
    assert {fields["id"] for fields in deletes} == {row_id for _, row_id in ERASED}
    assert not any({"+100", "Ana Ruiz"} & set(map(str, fields.values())) for fields in deletes)
    places = {place["name"]: place for place in report["places"]}
    assert places.keys() >= TOPICS.keys()
    assert len(report["dead_letters"]) == 1
    for topic, days in (
        ("message-state", 1),
        ("streams-messages-changelog", 1),
        ("streams-addresses-changelog", 1),
        ("streams-contacts-changelog", 1),
        ("streams-conversations-changelog", 1),
        ("contacts", 30),
        ("contacts-addresses", 30),
        ("messages", 30),
        ("dead-letters", 90),
    ):
        until = datetime.fromisoformat(places[topic]["until"])
        assert begun + timedelta(days=days) <= until <= begun + timedelta(days=days + 8)

    assert not report["unknown_address"]
    unknown = [world.erase("--contact", contact)[1]["unknown_address"] for contact in ("+100", "100")]
    assert unknown == [False, True], "what was erased is known, and another spelling of it is not"

    file = tmp_path / "report.json"
    file.write_text(json.dumps(report))
    later_it_is_verified(world, file, tmp_path / "spool")

    # Again, and of a message that nobody knows: it must not come later either.
    assert world.erase("--conversation", "c1", "--message", "m9", "--execute")[0] == 0
    receipt = post("messages", "m9", conversation_id="c2", contact_address="+200", direction="incoming")
    taken = "{topic}:{partition}:{offset}".format(**receipt)
    eventually(lambda: status("messages", f"m9?after={taken}") == 404, within=60)

    # The organization leaves. A contact that no conversation shows is found as well.
    post("contacts", "contact-9", name="Juan")
    eventually(
        lambda: b"contact-9" in {record.key() for record in world.records("streams-contacts-changelog")}, every=0.3
    )
    code, whole = world.erase("--organization", ORGANIZATION, "--execute", "--confirm", ORGANIZATION)
    assert (code, whole["left"]) == (0, [])
    assert {(row["entity"], row["id"]) for row in whole["rows"]} >= {
        ("messages", "m4"),
        ("conversations", "c2"),
        ("contacts", "contact-9"),
        ("contacts_addresses", made("+200")),
    }
    assert set(world.states("message-state").values()) == {None}


def later_it_is_verified(world: World, file: Path, spool: Path) -> None:
    report = json.loads(file.read_text())
    code, verified = world.erase("--verify", str(file), "--contact", "+100", "--spool", str(spool))
    assert (code, verified["left"]) == (0, [])
    places = {place["name"]: place for place in report["places"]}
    now = {place["name"]: place for place in verified["places"]}
    assert now["messages"]["was"] == places["messages"]["was"] == 3
    assert now["messages"]["until"] == places["messages"]["until"], "it counts from the records, not from now"
    assert now["conversation-state"]["was"] >= 2, "c1, and c2 with m3 as its last message"
    assert now[f"spool in {spool}"]["fault"] is None
    assert "+100" not in json.dumps([report, verified])

    late = {"conversation_id": "c2", "contact_address": "+100", "direction": "incoming"}
    assert world.post("messages", "m5", **late)["reason"] == "suppressed"
    # What has the name, and names no address.
    assert world.post("contacts", "contact-1", name="Ana Ruiz")["reason"] == "suppressed"
    assert world.post("contacts_addresses", None, address="+100", contact_id="contact-7")["reason"] == "suppressed"
    listed = erase(world.contract, "--list", "--json").stdout
    entries = [json.loads(line) for line in listed.splitlines()]
    fields = {"hash", "since", "service", "organization_id", "erased_with", "key_id"}
    assert [entry.keys() for entry in entries] == [fields] * 3, "the row of contacts with its organization, and without"
    assert not [text for text in ("+100", "contact-1") if text in listed]
    assert erase(world.contract, "--lift", "--contact", "+100").returncode == 0
    assert erase(world.contract, "--list", "--json").stdout == "", "the row of its contact is lifted with it"
    eventually(lambda: world.post("messages", "m5", **late).get("disposition") == "published", every=0.3)
    eventually(lambda: world.status("messages", "m5") == 200, every=0.3)
    code, verified = world.erase("--verify", str(file), "--contact", "+100")
    assert code == 1
    assert [text.partition(":")[0] for text in verified["left"]] == ["message-state"]


def test_a_running_bridge_forgets_what_it_has_spooled_while_kafka_is_away(contract, tmp_path):
    """And what it has of others reaches Kafka once that is back. Its bridge is a process of this machine."""
    servers, topic = contract.kafka.bootstrap_servers, contract.topic("messages")
    bridge = Bridge("127.0.0.1:1", contract.registry.url, tmp_path, prefix=contract.prefix)
    try:
        bridge.start()
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=bridge.url, headers=headers, timeout=10, trust_env=False) as client:
            for number in range(20):
                contact = "+349990000777999" if number % 2 else "+100"
                row = {"id": f"message-{number:04}", "contact_address": contact, "organization_id": ORGANIZATION}
                answer = client.post("/webhooks", json={"entity": "messages", "action": "insert", "data": row})
                assert answer.json()["disposition"] == "spooled"
        spool = tmp_path / "spool"
        person = ("--contact", "+349990000777999", "--spools-only", "--spool", str(spool))
        done = erase(contract, *person, "--execute", "--json")
        assert done.returncode == 0, done.stderr
        (place,) = json.loads(done.stdout)["places"]
        assert (place["was"], place["gone"], place["fault"]) == (10, 10, None)
        assert not any(b"+349990000777999" in file.read_bytes() for file in spool.iterdir())

        bridge.terminate()
        bridge.kafka = servers
        bridge.start()
        expected = [f"message-{number:04}" for number in range(0, 20, 2)]
        eventually(lambda: len(read_all(servers, topic)) == len(expected), every=0.5)
        assert sorted(record.key().decode() for record in read_all(servers, topic)) == expected
    finally:
        bridge.close()
