"""A row that a former version took, with more than a row may have now, can be deleted: that needs ids only."""

from types import SimpleNamespace
from typing import Any

import pytest

from avro.catalogue import MAX_MEMBERS
from streams.contract import Refused
from streams.engine.source import Record
from streams.engine.stores import group_key
from streams.engine.stores.memory import MemoryStore
from streams.engine.table import TablePartition
from streams.limits import FACTS_BYTES, FORMER_ID_BYTES, ID_BYTES
from streams.state import conversation, message
from streams.tables.contributions import ContributionRecord, VerdictRecord, decode_record
from streams.tables.conversations import ConversationPartition
from streams.tables.messages import MessagePartition
from streams.tables.owned import CONVERSATIONS, MESSAGES
from support.wire import event_bytes, event_of
from unit.streams.agents.test_intake import World
from unit.streams.test_join_cost import CountingStore, DeafWriter
from unit.streams.test_join_turns import contract_of

Columns = dict[str, Any]

INSTANT = "2026-05-06T03:40:00Z"
MANY = {f"x{number}": INSTANT for number in range(MAX_MEMBERS + 1)}
LARGE = {"x": "y" * FACTS_BYTES}
OF_MESSAGES = {"columns": MANY, "keys of status": {"status": MANY}, "bytes": LARGE}
OF_CONVERSATIONS = {"columns": MANY, "bytes": LARGE}
#: A delete that names the organization, one that names none, and one of a row whose organization nobody has named.
NAMED = pytest.mark.parametrize(
    ("of_row", "of_delete"),
    [
        ({"organization_id": "o"}, {"organization_id": "o"}),
        ({"organization_id": "o"}, {}),
        ({}, {"organization_id": "o"}),
    ],
    ids=["of its organization", "of anybody", "of a row without one"],
)


def told(entity: str, action: str, **columns: Any) -> dict[str, Any]:
    return event_of({"entity": entity, "action": action, "data": columns})


@pytest.mark.parametrize("columns", OF_MESSAGES.values(), ids=OF_MESSAGES)
@NAMED
def test_a_message_that_is_larger_than_one_may_be_is_deleted(columns: Columns, of_row: Columns, of_delete: Columns):
    contract, writer, store = contract_of(), DeafWriter(), MemoryStore()
    row = told("messages", "insert", id="m", conversation_id="c", **of_row, **columns)
    store.put(b"m", message.encode(message.facts_of(row)))
    table = MessagePartition(TablePartition(0, store, contract.topic(MESSAGES), writer), contract, writer)
    with pytest.raises(Refused, match="columns and keys"):
        table.apply(told("messages", "update", id="m", status={"read": INSTANT}), 100, replayed=False)
    table.apply(told("messages", "delete", id="m", **of_delete), 100, replayed=False)
    for steps in (table.publishing(), table.flushing()):
        list(steps)
    facts = table.facts("m")
    assert facts is not None
    assert not message.exists(facts)
    assert writer.written["streams-contributions"] > 0
    print(f"\nfigure: {len(row['status'] or row['extra']):,} columns or keys, the delete got through")


@pytest.mark.parametrize("columns", OF_CONVERSATIONS.values(), ids=OF_CONVERSATIONS)
@NAMED
def test_a_conversation_that_is_larger_than_one_may_be_is_deleted(
    columns: Columns, of_row: Columns, of_delete: Columns
):
    contract, writer, store = contract_of(), DeafWriter(), CountingStore()
    row = told("conversations", "insert", id="c", **of_row, **columns)
    store.put(group_key(b"c", b""), conversation.encode(conversation.facts_of(row)))
    rows = TablePartition(0, store, contract.topic(CONVERSATIONS), writer)
    table = ConversationPartition(rows, contract, writer, 100)
    with pytest.raises(Refused, match="columns"):
        table.apply_row(told("conversations", "update", id="c", status="open"), 100, replayed=False)
    table.apply_row(told("conversations", "delete", id="c", **of_delete), 100, replayed=False)
    for steps in (table.publishing(), table.flushing()):
        list(steps)
    assert table.state("c") is None


@pytest.mark.parametrize("entity", ["messages", "conversations"])
def test_an_id_that_a_former_version_took_can_be_deleted_and_no_other_can_be_told_of(entity: str):
    """The contributions of its rows are taken as well: those who are in it have to hear of it."""
    intake = World().intake
    for length, is_taken in ((ID_BYTES + 1, True), (FORMER_ID_BYTES, True), (FORMER_ID_BYTES + 1, False)):
        key, organization = "k" * length, "o" * length
        delete = {"entity": entity, "action": "delete", "data": {"id": key, "organization_id": organization}}
        record = Record(entity, 0, 0, key.encode(), event_bytes(delete))
        if is_taken:
            assert intake.row(record).fields["id"] == intake.text(record.key) == key
        else:
            for read in (lambda record=record: intake.row(record), lambda record=record: intake.text(record.key)):
                with pytest.raises(Refused, match="key exceeds"):
                    read()
        insert = {"entity": entity, "action": "insert", "data": {"id": key}}
        with pytest.raises(Refused, match="key exceeds"):
            intake.row(Record(entity, 0, 0, key.encode(), event_bytes(insert)))


def test_a_message_that_says_less_than_it_has_said_hears_again_that_its_conversation_is_deleted():
    """Its table is built from the sources once more, and had no message yet when it read the verdict."""
    contract, store = contract_of(), CountingStore()
    sent: list[tuple[str, bytes, bytes]] = []
    sender: Any = SimpleNamespace(write=lambda topic, key, value, *_, **__: sent.append((topic, key, value)))

    def said(table: MessagePartition) -> ContributionRecord:
        sent.clear()
        list(table.publishing())
        (record,) = [decode_record(value) for _, key, value in sent if key == b"c"]
        assert isinstance(record, ContributionRecord)
        return record

    messages = MessagePartition(TablePartition(0, MemoryStore(), contract.topic(MESSAGES), sender), contract, sender)
    row = told("messages", "insert", id="m", conversation_id="c", organization_id="o")
    messages.apply(row, 100, replayed=False)
    at_first = said(messages)
    messages.apply_verdict("m", VerdictRecord("", ["o"], None, None, organization="o", conversation="c"))
    since = said(messages)
    rows = TablePartition(0, store, contract.topic(CONVERSATIONS), sender)
    conversations = ConversationPartition(rows, contract, sender, 100)
    conversations.apply_row(told("conversations", "delete", id="c", organization_id="o"), 100, replayed=False)
    for record, heard in ((at_first, True), (since, False), (at_first, True), (since, False)):
        sent.clear()
        conversations.apply_contribution("c", record)
        verdicts = [decode_record(value) for _, key, value in sent if key == b"m"]
        assert [one.deletes for one in verdicts if isinstance(one, VerdictRecord)] == [["o"]] * heard
