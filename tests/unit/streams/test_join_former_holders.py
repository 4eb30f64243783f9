"""A message that a former version stored is compared with others of its external id from its next event on."""

from typing import Any

import pytest

from avro.schemas import latest, records
from streams.contract import Contract, Refused
from streams.engine.stores.memory import MemoryStore
from streams.engine.table import TablePartition
from streams.limits import FACTS_BYTES
from streams.state import existence
from streams.state.existence import Holder
from streams.tables.contributions import HolderRecord, VerdictRecord, decode_record, holders_key
from streams.tables.messages import MessagePartition
from streams.tables.owned import MESSAGES
from support.wire import event_of
from unit.streams.state.test_former import MESSAGE

RECORDS = records()


class Written:
    """Keeps what is written to the topic between the tables."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.records: list[tuple[bytes | None, bytes | None]] = []

    def write(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int = -1, headers: Any = None
    ) -> None:
        del partition, headers
        if topic == self.topic:
            self.records.append((key, value))

    def holders(self) -> list[HolderRecord]:
        told = [decode_record(value) for key, value in self.records if key == holders_key("o", "w") and value]
        self.records.clear()
        return [record for record in told if isinstance(record, HolderRecord)]


@pytest.fixture
def table() -> tuple[MessagePartition, Written]:
    assert all(latest(record) for record in RECORDS)
    contract = Contract("", {record: number for number, record in enumerate(RECORDS, 1)})
    written = Written(contract.topic("streams-contributions"))
    store = MemoryStore()
    store.put(b"m", MESSAGE)
    return MessagePartition(TablePartition(0, store, contract.topic(MESSAGES), written), contract, written), written


@pytest.mark.parametrize("named", [{}, {"external_id": "w", "conversation_id": "c"}], ids=["what changed", "whole row"])
def test_its_next_event_tells_the_holders_how_old_it_is_once(table, named):
    messages, written = table
    for status in ("delivered", "read"):
        row = {"id": "m", "status": {status: "2026-05-06T03:40:00Z"}, "updated_at": "2026-05-06T03:40:00Z"}
        messages.apply(event_of({"entity": "messages", "action": "update", "data": row | named}), 100, replayed=False)
        list(messages.publishing())
        list(messages.flushing())
        told = written.holders()
        assert [record.message_id for record in told] == (["m"] if status == "delivered" else [])


def test_so_does_what_others_know_of_it(table):
    messages, written = table
    messages.apply_verdict("m", VerdictRecord("", ["another"], None, None))
    list(messages.publishing())
    list(messages.flushing())
    assert [record.message_id for record in written.holders()] == ["m"]


def test_what_could_not_be_written_is_refused(table):
    messages, _ = table
    with pytest.raises(Refused):
        messages.apply_verdict("m", VerdictRecord("", ["p" * (2 * FACTS_BYTES)], None, None))
    list(messages.flushing())


def test_what_holders_do_not_know_yet_is_told_when_that_shows(table):
    """Former versions did not tell them that a message is deleted, nor when it was created."""
    messages, written = table
    row = {"id": "m", "organization_id": "o"}
    messages.apply(event_of({"entity": "messages", "action": "delete", "data": row}), 100, replayed=False)
    list(messages.publishing())
    list(messages.flushing())
    [told] = written.holders()
    assert told.holder is not None
    assert told.holder.deleted
    for known, expected in ((told.holder, []), (Holder(*told.holder.age), ["m"]), (existence.FORGOTTEN, [])):
        messages.apply_verdict("m", VerdictRecord("", [], {"w": {}}, known, organization="o"))
        list(messages.publishing())
        list(messages.flushing())
        assert [record.message_id for record in written.holders()] == expected
