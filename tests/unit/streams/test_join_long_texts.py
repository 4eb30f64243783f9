"""Long ids and texts that are told again and again: no record becomes larger than the broker takes."""

from collections import Counter, deque
from typing import Any

import pytest
from msgspec import msgpack

from avro.catalogue import MAX_MESSAGE_BYTES
from avro.schemas import latest, records
from streams.contract import Contract, Refused
from streams.engine.source import Record
from streams.engine.stores.memory import MemoryStore
from streams.engine.table import TablePartition
from streams.limits import ID_BYTES
from streams.state.existence import HOLDERS_LIMIT, Holder
from streams.state.status_change import TOLD_CHARACTERS, status_changes
from streams.tables.contributions import HolderRecord, decode_record, holders_key
from streams.tables.messages import MessagePartition
from streams.tables.owned import MESSAGES
from support.wire import event_bytes, event_of
from unit.streams.agents.test_intake import World
from unit.streams.test_join_cost import contribution

RECORDS = records()


class Sizes:
    """Notes how large the largest record of each topic is, and hands on what holders of external ids are told."""

    def __init__(self) -> None:
        self.largest: Counter[str] = Counter()
        self.told: deque[tuple[bytes, bytes]] = deque()

    def write(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int = -1, headers: Any = None
    ) -> None:
        del partition, headers
        self.largest[topic] = max(self.largest[topic], len(key or b"") + len(value or b""))
        if topic == "streams-contributions" and key is not None and value is not None:
            self.told.append((key, value))


def test_messages_with_ids_of_any_length_that_have_one_external_id_lead_to_no_record_that_is_too_large():
    """Of deleted ones each hears of all others."""
    assert all(latest(record) for record in RECORDS)
    contract = Contract("", {record: number for number, record in enumerate(RECORDS, 1)})
    sizes = Sizes()
    table = MessagePartition(TablePartition(0, MemoryStore(), contract.topic(MESSAGES), sizes), contract, sizes)
    key = holders_key("o", "e")
    names = [f"{number:04}".ljust(ID_BYTES, "x") for number in range(HOLDERS_LIMIT)]
    stored = {name: Holder(1, number, number, deleted=True) for number, name in enumerate(names)}
    table.rows[key] = msgpack.encode(stored)
    last = "last".ljust(ID_BYTES, "x")
    table.apply_holder(key, HolderRecord("", last, Holder(1, HOLDERS_LIMIT, 1, deleted=True), "o"))
    list(table.flushing())
    assert len(sizes.told) == HOLDERS_LIMIT
    verdict = next(value for message_id, value in sizes.told if message_id == last.encode())
    row = {"id": last, "organization_id": "o", "external_id": "e", "conversation_id": "c"}
    table.apply(event_of({"entity": "messages", "action": "insert", "data": row}), ID_BYTES + 500, replayed=False)
    table.apply_verdict(last, decode_record(verdict))
    for steps in (table.publishing(), table.flushing()):
        list(steps)
    largest = ", ".join(f"{topic} {size:,}" for topic, size in sizes.largest.items())
    print(f"\nfigure: largest records, in bytes: {largest}")
    assert min(sizes.largest[topic] for topic in ("streams-contributions", MESSAGES)) > HOLDERS_LIMIT * ID_BYTES
    assert max(sizes.largest.values()) < MAX_MESSAGE_BYTES - 1_000


def test_an_organization_with_an_id_that_is_too_long_is_refused():
    world = World()
    row = {"id": "m", "organization_id": "o" * (ID_BYTES + 1)}
    value = event_bytes({"entity": "messages", "action": "insert", "data": row})
    with pytest.raises(Refused, match="organization's id"):
        world.intake.row(Record("messages", 0, 0, b"m", value))


def test_of_long_texts_a_status_change_tells_the_beginning():
    long = "x" * 1_000_000
    part = contribution(1_000, long, sent=7)
    (change,) = status_changes("m", "c", part, ["sent"], {"name": long, "status": "open", "service": None})
    assert change["direction"] == long[:TOLD_CHARACTERS]
    assert change["conversation"] == {"name": long[:TOLD_CHARACTERS], "status": "open", "service": None}
    (unknown,) = status_changes("m", "c", contribution(1_000, sent=7), ["sent"], None)
    assert unknown["conversation"] is None
