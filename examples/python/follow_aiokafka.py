"""Prints each status change as a line of JSON, with aiokafka and fastavro: what a deserializer does, in the open."""

import asyncio
import contextlib
import io
import json
import os
import struct
from collections import OrderedDict
from functools import cache
from typing import Any
from urllib.request import urlopen

import fastavro
from aiokafka import AIOKafkaConsumer, ConsumerRecord

KAFKA = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:14000")
REGISTRY = os.environ.get("SCHEMA_REGISTRY_URL", "http://127.0.0.1:14001/apis/ccompat/v7")
TOPIC = os.environ.get("TOPIC_PREFIX", "openbsp.") + "status-changes"
GROUP = os.environ.get("GROUP_ID", "status-changes-aiokafka")
UNTIL_END = "UNTIL_END" in os.environ

REMEMBERED = 100_000


@cache
def schema(schema_id: int) -> Any:
    """Return the schema of an id, from the registry; an id never changes its meaning, so it is asked once."""
    with urlopen(f"{REGISTRY}/schemas/ids/{schema_id}", timeout=10) as answer:
        return fastavro.parse_schema(json.loads(json.load(answer)["schema"]))


async def deserialize(value: bytes) -> Any:
    """Read Confluent's wire format: a zero byte, the schema id in four bytes, Avro."""
    zero, schema_id = struct.unpack_from(">bI", value)
    if zero != 0:
        raise ValueError("not in Confluent's wire format")
    writer = await asyncio.to_thread(schema, schema_id)
    return fastavro.schemaless_reader(io.BytesIO(value[5:]), writer, None)


async def show(record: ConsumerRecord, seen: OrderedDict[bytes, None]) -> None:
    """Print a change, unless its event was seen before: delivery is at least once."""
    event_id = dict(record.headers)["ce_id"]
    if event_id not in seen:
        print(json.dumps(await deserialize(record.value), default=str), flush=True)
        seen[event_id] = None
        if len(seen) > REMEMBERED:
            seen.popitem(last=False)


async def main() -> None:
    """Follow the topic; commit a batch after it was printed."""
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=KAFKA, group_id=GROUP, auto_offset_reset="earliest", enable_auto_commit=False
    )
    seen: OrderedDict[bytes, None] = OrderedDict()
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment()) if UNTIL_END else {}
        while not UNTIL_END or any([await consumer.position(partition) < end for partition, end in ends.items()]):
            batches = await consumer.getmany(timeout_ms=1000)
            for records in batches.values():
                for record in records:
                    await show(record, seen)
            if batches:
                await consumer.commit()
    finally:
        await consumer.stop()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
