"""An erased person is gone to the last byte, once the dates that the report names have passed: short ones here.

The bytes of the broker's logs, of the spool and of the worker's stores are searched for the texts of the person's
messages and for the address. All other rows are as before, byte for byte.
"""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from avro.catalogue import TOPICS
from bridge.delivery.items import pack
from bridge.delivery.spool.file import SpoolFile
from bridge.delivery.spool.leftovers import spool_path
from bridge.http.events import read_event
from openbsp.local.stack import LocalStack
from support.consume import newest_by_key, read_all
from support.join_outcome import await_committed
from support.topic_settings import change_settings
from support.wait import eventually

pytestmark = [pytest.mark.integration, pytest.mark.long]

TOKEN = "token-of-the-tests"
KEY = "the key of a deployment, for tests alone"
MESSAGES = 1000
SPOOLED = 20
ADDRESS = "+349990000777123"
OTHER = "+340000000000001"

#: The documented dates, at a second. What goes by retention, and what by compaction.
RETENTION = {"retention.ms": "1000", "segment.ms": "1000", "file.delete.delay.ms": "0"}
COMPACTION = {
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "1000",
    "segment.ms": "1000",
    "min.cleanable.dirty.ratio": "0.0",
    "file.delete.delay.ms": "0",
}
#: How often the broker looks for what is due.
BROKER = {
    "log.initial.task.delay.ms": 500,
    "log.retention.check.interval.ms": 500,
    "log.cleaner.backoff.ms": 300,
    "log.segment.delete.delay.ms": 0,
}


@pytest.fixture(scope="module")
def stack_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="module")
def stack(stack_directory: Path) -> Iterator[LocalStack]:
    """Run a broker that looks for what is due all the time, and whose files can be read."""
    with LocalStack(stack_directory, kafka_properties=BROKER) as running:
        yield running


class World:
    def __init__(self, contract, directory: Path, stack_directory: Path) -> None:
        self.contract = contract
        self.producer = Producer(contract.kafka.librdkafka())
        self.places = {
            "broker": stack_directory / "kafka",
            "spool": directory / "spool",
            "stores": directory / "stores",
        }
        # Random, so that the compression of the stores' blocks leaves them as they are.
        self.canaries = [secrets.token_hex(8) for _ in range(MESSAGES)]
        self.name = secrets.token_hex(8)
        self.needles = [text.encode() for text in (*self.canaries, self.name, ADDRESS)]

    def found(self, place: str) -> int:
        """Return how many of the texts stand in the files of a place. Indexes of segments have offsets only."""
        found: set[bytes] = set()
        for path in self.places[place].rglob("*"):
            if path.is_file() and path.suffix not in {".index", ".timeindex"}:
                with contextlib.suppress(FileNotFoundError):  # a segment that the broker deletes just now
                    content = path.read_bytes()
                    found.update(needle for needle in self.needles if needle in content)
        return len(found)

    def states(self, topic: str, ids: set[str]) -> dict[str, bytes]:
        records = newest_by_key(read_all(self.contract.kafka.bootstrap_servers, self.contract.topic(topic)))
        return {key: record.value() for key, record in records.items() if key in ids}


def message(number: int, conversation: str, contact: str, text: str) -> dict:
    at = f"2026-05-06T03:{number // 60 % 60:02}:{number % 60:02}+00:00"
    row = {
        "id": f"{conversation}-message-{number:06}",
        "organization_id": "organization-1",
        "conversation_id": conversation,
        "external_id": f"wamid.{conversation}.{number:06}",
        "direction": "incoming",
        "service": "whatsapp",
        "contact_address": contact,
        "content": {"type": "text", "kind": "text", "text": text},
        "status": {"delivered": at},
        **dict.fromkeys(("timestamp", "created_at", "updated_at"), at),
    }
    return {"entity": "messages", "action": "insert", "data": row}


def conversation(id_: str, contact: str) -> dict:
    at = "2026-05-06T03:00:00+00:00"
    row = {"id": id_, "organization_id": "organization-1", "service": "whatsapp", "contact_address": contact}
    return {
        "entity": "conversations",
        "action": "insert",
        "data": row | {"created_at": at, "updated_at": at, "extra": {}},
    }


def contact(id_: str, address: str, name: str) -> list[dict]:
    at = "2026-05-06T03:00:00+00:00"
    common = {"organization_id": "organization-1", "created_at": at, "updated_at": at}
    of_address = {
        "service": "whatsapp",
        "address": address,
        "contact_id": id_,
        "extra": {"name": f"at whatsapp {name}"},
    }
    return [
        {"entity": "contacts", "action": "insert", "data": {"id": id_, "name": f"I am {name}", **common}},
        {"entity": "contacts_addresses", "action": "insert", "data": {**of_address, **common}},
    ]


def erase(contract, *arguments: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bridge", "erase", "--json", *arguments],
        env={**os.environ, **contract.environment, "BRIDGE_SUPPRESSION_KEY": KEY},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(900)
def test_no_byte_of_an_erased_contact_is_left_after_the_dates_of_the_report(  # noqa: PLR0915 one history
    contract, start_bridge, start_streams, stack_directory, tmp_path
):
    world = World(contract, tmp_path, stack_directory)
    mine = [message(n, f"conversation-a{n % 3}", ADDRESS, f"I wrote {text}") for n, text in enumerate(world.canaries)]
    others = [message(n, f"conversation-b{n % 5}", OTHER, f"of somebody else {n}") for n in range(50)]
    rows = [conversation(f"conversation-a{n}", ADDRESS) for n in range(3)]
    rows += [conversation(f"conversation-b{n}", OTHER) for n in range(5)]
    rows += contact("contact-of-a", ADDRESS, world.name) + contact("contact-of-b", OTHER, "somebody else")

    # Some of it was spooled during an outage.
    spooled = [pack(read_event(json.dumps(body).encode(), n + 1, None, 100)) for n, body in enumerate(mine[:SPOOLED])]
    file = SpoolFile(spool_path(world.places["spool"], 0))
    file.append([(number + 1, body) for number, body in enumerate(spooled)])
    file.close()
    assert world.found("spool") == SPOOLED + 1

    # Compressed, no text would be found in the log, whatever is there.
    plain = {"KAFKA_COMPRESSION": "none"}
    bridge = start_bridge(BRIDGE_SUPPRESSION_KEY=KEY, **plain)
    # Nothing is compacted by date until the texts have been found in the stores.
    streams = start_streams(STREAMS_DATA_DIR=str(world.places["stores"]), **plain)
    with httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30, trust_env=False) as client:

        def post(body: object) -> int:
            return client.post(f"{bridge.url}/webhooks", json=body).status_code

        def view(path: str) -> bytes | None:
            answer = client.get(f"{streams.url}{path}")
            assert answer.status_code in {200, 404}
            return answer.content if answer.status_code == 200 else None

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(post, [*rows, *mine[SPOOLED:], *others])) == {202}
            # Status changes make further versions of each row.
            again = [
                {**body, "action": "update", "data": {**body["data"], "status": {"read": "2026-05-07T00:00:00+00:00"}}}
                for body in (*mine, *others)
            ]
            assert set(pool.map(post, again)) == {202}
        assert (
            post({"entity": "messages", "action": "insert", "data": {"content": world.canaries[0], "to": ADDRESS}})
            == 422
        )
        await_committed(contract)
        kept = {body["data"]["id"] for body in others}
        kept_conversations = {f"conversation-b{n}" for n in range(5)}
        paths = [f"/messages/{id_}" for id_ in sorted(kept)] + [f"/conversations/{id_}" for id_ in kept_conversations]
        eventually(lambda: all(view(path) for path in paths), every=0.5)
        before = [world.states("message-state", kept), world.states("conversation-state", kept_conversations)]
        shown = [view(path) for path in paths]
        assert len(before[0]) == len(others)

        # It is there to be found: in the stores as soon as they are on the disk.
        assert json.loads(view("/conversations/conversation-a0") or b"{}")["contact"]["name"] == f"I am {world.name}"
        assert world.found("broker") == MESSAGES + 2
        streams.stop()
        assert world.found("stores") > MESSAGES / 2
        streams.start()
        eventually(lambda: view(paths[0]), within=60, every=0.5)

        servers = ["--url", bridge.url, "--token", TOKEN, "--views-token", TOKEN, "--views"]
        report = erase(contract, "--contact", ADDRESS, "--execute", "--timeout", "180", *servers, streams.url)
        assert len(report["rows"]) == MESSAGES + 3 + 2
        assert ADDRESS not in json.dumps(report)
        late = message(999_999, "conversation-new", ADDRESS, f"late: {world.canaries[0]}")
        assert post(late) == 422
        assert [post(row) for row in contact("contact-of-a", ADDRESS, world.name)] == [422, 422]
        await_committed(contract)
        streams.stop()
        bridge.stop()
        assert world.found("stores") > 0, "RocksDB has not compacted yet"

        shorten(contract)
        assert world.found("spool") == 0
        streams = start_streams(STREAMS_STORE_COMPACTION_S="2", STREAMS_DATA_DIR=str(world.places["stores"]), **plain)
        eventually(lambda: world.found("stores") == 0, within=120, every=1.0)
        streams.stop()
        eventually(lambda: is_clean(world), within=300, every=1.5)

        assert [world.states("message-state", kept), world.states("conversation-state", kept_conversations)] == before
        bridge.start()
        streams.start()
        eventually(lambda: [view(path) for path in paths] == shown, within=60, every=1.0)
        assert [view(f"/messages/{body['data']['id']}") for body in mine[:20]] == [None] * 20
        saved = tmp_path / "report.json"
        saved.write_text(json.dumps(report))
        spool = str(world.places["spool"])
        verified = erase(
            contract, "--verify", str(saved), "--contact", ADDRESS, "--spool", spool, *servers, streams.url
        )
        assert verified["left"] == []
        places = {place["name"]: place for place in verified["places"]}
        assert "has compacted its stores since" in places["stores of the workers"]["left"]
        topics = [place for place in verified["places"] if place["name"] in TOPICS]
        assert [place["name"] for place in topics if place["was"] != place["gone"]] == []


def shorten(contract) -> None:
    """Have the documented dates come within seconds."""
    admin = AdminClient(contract.kafka.librdkafka())
    for name, topic in TOPICS.items():
        settings = COMPACTION if topic.cleanup_policy == "compact" else RETENTION
        change_settings(admin, contract.topic(name), **settings)


def is_clean(world: World) -> bool:
    """Write to each partition, for only what is written to is compacted; return whether nothing is found any more."""
    producer = world.producer
    for name, topic in TOPICS.items():
        if topic.cleanup_policy == "compact":
            for partition in range(world.contract.topics.partitions):
                key = f"nobody-{time.monotonic_ns()}"
                producer.produce(world.contract.topic(name), key=key, value=None, partition=partition)
    assert producer.flush(10) == 0
    return world.found("broker") == 0
