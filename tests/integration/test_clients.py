"""Stock clients of other languages and libraries read what bridge and worker really write, without extra packages."""

import asyncio
import importlib.util
import io
import json
import os
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import fastavro
import httpx
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from avro import jsontext
from avro.catalogue import TOPICS
from support.consume import AvroReader, read_all
from support.documented import DocumentedEvents
from support.join_outcome import await_committed
from support.npm import installed
from support.tools import tool

pytestmark = pytest.mark.integration

PUBLIC = [topic.name for topic in TOPICS.values() if not topic.internal]
TOKEN = "token-of-the-tests"

#: Of a record: topic, partition, offset, key, ce_id, and the value's `id` (a dead letter's `event_id`).
Line = tuple[str, int, int, str | None, str, str]


@pytest.fixture(params=["default", "none"])
def written(request, contract, start_bridge, start_streams) -> Any:
    """Let bridge and worker write records into every public topic."""
    variables = {} if request.param == "default" else {"KAFKA_COMPRESSION": request.param}
    bridge, _ = start_bridge(**variables), start_streams(**variables)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    # Larger than what a single record needs to be worth compressing.
    long = {"id": "long", "conversation_id": "c", "content": {"type": "text", "text": "once more " * 1000}}
    more = {
        "messages": long,
        "contacts": {"id": "k", "organization_id": "o", "name": "Ana"},
        "contacts_addresses": {"organization_id": "o", "service": "whatsapp", "address": "+1", "contact_id": "k"},
    }
    inserts = [{"data": row, "entity": entity, "action": "insert"} for entity, row in more.items()]
    bodies = [*DocumentedEvents().bodies, *map(jsontext.encode, inserts)]
    for body in [*bodies, b"{}", b"no JSON"]:
        answer = httpx.post(f"{bridge.url}/webhooks", content=body, headers=headers, timeout=10, trust_env=False)
        assert answer.status_code in {202, 400, 422}
    await_committed(contract)
    return contract


def expected(contract: Any) -> list[Line]:
    """Return what there is, as librdkafka reads it."""
    reader = AvroReader(contract.registry.url)
    lines = []
    for name in PUBLIC:
        found = read_all(contract.kafka.bootstrap_servers, contract.topic(name))
        assert found, f"nothing was written to {name}"
        for message in found:
            ce_id = dict(message.headers())["ce_id"].decode()
            key = message.key()
            at = (message.topic(), message.partition(), message.offset())
            lines.append((*at, None if key is None else key.decode(), ce_id, _id(reader.value(message))))
    return sorted(lines, key=lambda line: line[:3])


def _id(value: Any) -> str:
    return value.get("id", value["event_id"] if "reason" in value else None)


def test_aiokafka_without_extras_reads_everything(written):
    assert not [name for name in ("cramjam", "lz4", "snappy", "zstandard") if importlib.util.find_spec(name)]
    schemas: dict[int, Any] = {}
    lines = []
    for record in asyncio.run(read_with_aiokafka(written)):
        zero, schema_id = struct.unpack_from(">bI", record.value)
        assert zero == 0
        if schema_id not in schemas:
            answer = httpx.get(f"{written.registry.url}/schemas/ids/{schema_id}", timeout=10, trust_env=False)
            schemas[schema_id] = fastavro.parse_schema(json.loads(answer.json()["schema"]))
        value = fastavro.schemaless_reader(io.BytesIO(record.value[5:]), schemas[schema_id], None)
        key = None if record.key is None else record.key.decode()
        at = (record.topic, record.partition, record.offset)
        lines.append((*at, key, dict(record.headers)["ce_id"].decode(), _id(value)))
    assert sorted(lines, key=lambda line: line[:3]) == expected(written)


async def read_with_aiokafka(contract: Any) -> list[ConsumerRecord]:
    found: list[ConsumerRecord] = []
    partitions = [TopicPartition(contract.topic(name), n) for name in PUBLIC for n in range(contract.topics.partitions)]
    consumer = AIOKafkaConsumer(bootstrap_servers=contract.kafka.bootstrap_servers, enable_auto_commit=False)
    consumer.assign(partitions)
    await consumer.start()
    try:
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
    finally:
        await consumer.stop()
    return found


@pytest.fixture(scope="module")
def kafkajs() -> Path:
    return installed("kafkajs") / "read.mjs"


@pytest.mark.long
def test_kafkajs_without_extras_reads_everything(kafkajs, written):
    topics = [written.topic(name) for name in PUBLIC]
    arguments = [written.kafka.bootstrap_servers, written.registry.url, *topics]
    done = subprocess.run(
        [tool("node", "nodejs"), kafkajs, *arguments], timeout=120, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    places = ("topic", "partition", "offset", "key", "ce_id")
    lines = [(*(record[name] for name in places), _id(record["value"])) for record in records]
    assert sorted(lines, key=lambda line: line[:3]) == expected(written)


#: Reads one record of the topic messages with the snippet of docs/consumers.md, which names `host`, before it.
READ_LATER = """
const { Kafka, logLevel } = require("kafkajs");
const [broker, host, topic] = process.argv.slice(2);
%s
const kafka = new Kafka({ brokers: [broker], logLevel: logLevel.NOTHING });
const consumer = kafka.consumer({ groupId: `later-${process.pid}` });
(async () => {
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ message }) => {
      try {
        const { id, timestamp } = await registry.decode(message.value);
        console.log(JSON.stringify({ id, timestamp: String(timestamp) }));
        process.exit(0);
      } catch (error) {
        console.error(error);
        process.exit(1);
      }
    },
  });
})();
"""

PLAIN = """
const { SchemaRegistry } = require("@kafkajs/confluent-schema-registry");
const registry = new SchemaRegistry({ host });
"""


@pytest.mark.long
def test_kafkajs_reads_later_instants_with_the_type_of_the_page(kafkajs, contract, start_bridge, tmp_path):
    """An instant beyond 2^53 microseconds, at which avsc throws by itself."""
    page = (Path(__file__).parents[2] / "docs" / "consumers.md").read_text("utf-8")
    (snippet,) = re.findall(r"^```js\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    body = {
        "data": {"id": "later", "timestamp": "3000-01-01T00:00:00.000001Z"},
        "entity": "messages",
        "action": "insert",
    }
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    url = f"{start_bridge().url}/webhooks"
    assert httpx.post(url, json=body, headers=headers, timeout=10, trust_env=False).status_code == 202
    addresses = [contract.kafka.bootstrap_servers, contract.registry.url, contract.topic("messages")]
    lines = []
    for name, text in (("with.cjs", snippet), ("without.cjs", PLAIN)):
        (tmp_path / name).write_text(READ_LATER % text, "utf-8")
        done = subprocess.run(
            [tool("node", "nodejs"), tmp_path / name, *addresses],
            env={**os.environ, "NODE_PATH": str(kafkajs.parent / "node_modules")},
            timeout=60,
            capture_output=True,
            text=True,
            check=False,
        )
        lines.append((done.returncode, done.stdout, done.stderr))
    assert lines[0][2] == ""
    assert lines[0] == (0, '{"id":"later","timestamp":"32503680000000001"}\n', "")
    assert "potential precision loss" in lines[1][2]
