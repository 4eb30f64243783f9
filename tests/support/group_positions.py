"""Positions of a group with their notes, as somebody else reads and commits them. Imports nothing of ours.

Trap: confluent_kafka reads notes up to a zero byte that may come later, and those that it writes end in bytes of other
memory.
"""

import asyncio
from collections.abc import Mapping

import aiokafka
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

#: Topic and partition.
At = tuple[str, int]


def committed(kafka: str, group: str) -> dict[At, OffsetAndMetadata]:
    """Return what a group has committed."""
    return asyncio.run(_committed(kafka, group))


def commit(kafka: str, group: str, positions: Mapping[At, tuple[int, str]]) -> None:
    """Commit positions, each with its note, for a group without members."""
    asyncio.run(_commit(kafka, group, positions))


async def _committed(kafka: str, group: str) -> dict[At, OffsetAndMetadata]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    return {(at.topic, at.partition): left for at, left in found.items()}


async def _commit(kafka: str, group: str, positions: Mapping[At, tuple[int, str]]) -> None:
    async with AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False) as member:
        named = {aiokafka.TopicPartition(*at): position for at, position in positions.items()}
        member.assign(list(named))
        await member.commit(named)
