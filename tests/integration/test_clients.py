"""Stock clients of other languages and libraries read what bridge and worker really write, without extra packages."""

import asyncio
import importlib.util
import io
import json
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
    bodies = [*DocumentedEvents().bodies, jsontext.encode({"data": long, "entity": "messages", "action": "insert"})]
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
