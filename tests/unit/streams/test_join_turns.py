"""Each step of the join is short: whatever a conversation or a row holds, others have their turn in between."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from avro.catalogue import MAX_MEMBERS
from avro.schemas import latest, records
from streams.contract import Contract, Refused
from streams.engine.stores.memory import MemoryStore
from streams.engine.table import TablePartition
from streams.tables.contributions import ContributionRecord
from streams.tables.conversations import ConversationPartition
from streams.tables.messages import MessagePartition
from streams.tables.owned import CONVERSATIONS, MESSAGES
from support.wire import event_of
from unit.streams.test_join_cost import CountingStore, DeafWriter, contribution

RECORDS = records()
LONG = 3_000
#: More than a step does, and a small part of what the conversation has.
SHORT = 250


def contract_of() -> Contract:
    assert all(latest(record) for record in RECORDS)
    return Contract("", {record: number for number, record in enumerate(RECORDS, 1)})


def partition(store: CountingStore, writer: DeafWriter) -> ConversationPartition:
    contract = contract_of()
    rows = TablePartition(0, store, contract.topic(CONVERSATIONS), writer)
    return ConversationPartition(rows, contract, writer, 100)


@pytest.fixture
def store() -> CountingStore:
    """Return what is stored of a long conversation, each message of which has a status."""
    store, writer = CountingStore(), DeafWriter()
    former = partition(store, writer)
    for number in range(LONG):
        part = contribution(10 * number + 1_000, "outgoing", sent=number)
        former.apply_contribution("c", ContributionRecord(f"m{number:05}", part, []))
    list(former.publishing())
    list(former.flushing())
    store.calls.clear()
    return store


def work_of(steps: Iterable[None], store: CountingStore, writer: DeafWriter) -> list[tuple[int, int]]:
    """Return how many messages each step has read, and how many status changes it has written."""
    iterator, found, going = iter(steps), [], True
    while going:
        read, written = store.calls["scanned"], writer.written["status-changes"]
        going = next(iterator, "end") is None
        found.append((store.calls["scanned"] - read, writer.written["status-changes"] - written))
    return found


def row(entity: str, key: str, **columns: Any) -> dict[str, Any]:
    return event_of({"entity": entity, "action": "update", "data": {"id": key, **columns}})


def test_a_long_conversation_that_is_not_in_memory_is_read_in_steps_before_anything_is_merged(store):
    writer = DeafWriter()
    task = partition(store, writer)
    read = [count for count, _ in work_of(task.bringing_into_use("c"), store, writer)]
    print(f"\nfigure: {sum(read)} messages read in {len(read)} steps of at most {max(read)}")
    assert max(read) <= SHORT
    assert sum(read) == LONG
    assert not task.bringing_into_use("c")
    store.calls.clear()
    task.apply_contribution("c", ContributionRecord("m00005", contribution(1_050, "outgoing", read=7), ["read"]))
    task.apply_row(row("conversations", "c", status="open"), 100, replayed=False)
    assert store.calls["scan"] == 0


def test_when_a_conversation_comes_to_be_known_its_status_changes_are_told_again_in_steps(store):
    writer = DeafWriter()
    task = partition(store, writer)
    list(task.bringing_into_use("c"))
    store.calls.clear()
    task.apply_contribution("c", ContributionRecord("m00005", contribution(1_050, "outgoing", read=7), ["read"]))
    task.apply_row(row("conversations", "c", status="open"), 100, replayed=False)
    assert store.calls["scan"] == 0
    done = work_of(task.publishing(), store, writer)
    assert max(read for read, _ in done) <= SHORT
    assert max(written for _, written in done) <= SHORT
    # One has come to be read as well, and that is told once.
    assert writer.written["status-changes"] == LONG + 1
    assert work_of(task.publishing(), store, writer) == [(0, 0)]


def test_what_has_to_be_counted_again_is_counted_in_steps_once_a_flush(store):
    """The last message of a conversation is removed, and the one before it: only all others tell which is the last."""
    writer = DeafWriter()
    task = partition(store, writer)
    list(task.bringing_into_use("c"))
    for number in (1, 2):
        task.apply_contribution("c", ContributionRecord(f"m{LONG - number:05}", None, []))
    assert not task.is_in_use("c")
    store.calls.clear()
    done = work_of(task.flushing(), store, writer)
    assert max(read for read, _ in done) <= SHORT
    assert sum(read for read, _ in done) == LONG - 2
    assert task.state("c")["last_message"]["message_id"] == f"m{LONG - 3:05}"


def test_whether_a_conversation_is_idle_is_judged_in_steps(store):
    writer = DeafWriter()
    task = partition(store, writer)
    read = [count for count, _ in work_of(task.is_idle("c", 1), store, writer)]
    assert max(read) <= SHORT
    assert sum(read) == LONG


def test_a_conversation_is_taken_back_in_steps(store):
    writer = DeafWriter()
    task = partition(store, writer)
    read = [count for count, _ in work_of(task.retract("c"), store, writer)]
    assert max(read) <= SHORT
    assert (sum(read), writer.written[CONVERSATIONS]) == (LONG, LONG)


MANY = 2 * MAX_MEMBERS // 3
INSTANT = "2026-05-06T03:40:00Z"


def test_a_message_that_comes_to_have_too_many_columns_and_keys_is_refused_and_stays_as_it_was():
    contract, writer = contract_of(), DeafWriter()
    table = MessagePartition(TablePartition(0, MemoryStore(), contract.topic(MESSAGES), writer), contract, writer)
    told = [
        row("messages", "m", conversation_id="c", status={f"{name}{number}": INSTANT for number in range(MANY)})
        for name in "ab"
    ]
    for _ in range(2):
        table.apply(told[0], 1_000_000, replayed=False)
    with pytest.raises(Refused, match=f"{MAX_MEMBERS} columns and keys"):
        table.apply(told[1], 1_000_000, replayed=False)
    for steps in (table.publishing(), table.flushing()):
        list(steps)
    assert len(table.facts("m").status) == MANY
    with pytest.raises(Refused, match="columns and keys"):
        table.apply(told[1], 1_000_000, replayed=False)
    table.apply(row("messages", "m", conversation_id="c", status={"read": INSTANT}), 100, replayed=False)


def steps_of(told: dict[str, Any]) -> Iterator[None]:
    """Let a table take a message's row, and that of conversations what it contributes, in steps."""
    contract, writer = contract_of(), DeafWriter()
    table = MessagePartition(TablePartition(0, MemoryStore(), contract.topic(MESSAGES), writer), contract, writer)
    task, keys = partition(CountingStore(), writer), dict.fromkeys(told["status"], 5)
    yield
    table.apply(told, 1_000_000, replayed=False)
    yield
    part = contribution(1_000, "outgoing", **keys)
    yield
    task.apply_contribution("c", ContributionRecord("m", part, [*keys][:64]))
    yield
    for steps in (table.publishing(), task.publishing(), table.flushing(), task.flushing()):
        yield from steps


def longest_ms(told: dict[str, Any]) -> float:
    steps = steps_of(told)
    next(steps)  # what is made once
    longest, began = 0.0, time.thread_time()
    for _ in steps:
        longest = max(longest, time.thread_time() - began)
        began = time.thread_time()
    return 1000 * max(longest, time.thread_time() - began)


def calls_of(told: dict[str, Any]) -> int:
    """Return how many functions are called, those of C as well."""
    calls: Counter[str] = Counter()
    sys.setprofile(lambda _frame, event, _of: calls.update((event,)))
    try:
        for _ in steps_of(told):
            pass
    finally:
        sys.setprofile(None)
    return calls["call"] + calls["c_call"]


def test_what_a_row_of_many_keys_costs_is_linear_in_its_bytes():
    calls = []
    for kib in (16, 256, 1024):
        # As many as fit, or as may be.
        keys = min((kib << 10) // len(f'"k00000":"{INSTANT}",'), MAX_MEMBERS - 100)
        told = row("messages", "m", conversation_id="c", status={f"k{number:05}": INSTANT for number in range(keys)})
        calls.append(calls_of(told) / keys)
        longest = min(longest_ms(told) for _ in range(3))
        print(f"\nfigure: {kib} KiB, {keys} keys: longest step {longest:.1f} ms of the processor")
    assert max(calls[1:]) < 1.1 * calls[0]


def test_others_cannot_have_a_message_refused_by_claiming_it_with_many_columns():
    contract, writer = contract_of(), DeafWriter()
    table = MessagePartition(TablePartition(0, MemoryStore(), contract.topic(MESSAGES), writer), contract, writer)
    keys = {f"k{number}": INSTANT for number in range(MANY)}
    owned = row("messages", "m", conversation_id="c", organization_id="o", status=keys)
    for other in ("p", "q"):
        claimed = row("messages", "m", conversation_id="c", organization_id=other, status=keys)
        table.apply(claimed, 1_000_000, replayed=False, organizations={other})
    table.apply(owned, 1_000_000, replayed=False)
    assert len(table.facts("m").status) == MANY


def test_a_conversation_that_comes_to_have_too_many_columns_is_refused_and_stays_as_it_was():
    task = partition(CountingStore(), DeafWriter())
    first, second = ({f"{name}{number}": 0 for number in range(MANY)} for name in "ab")
    task.apply_row(row("conversations", "c", **first), 1_000_000, replayed=False)
    with pytest.raises(Refused, match=f"{MAX_MEMBERS} columns"):
        task.apply_row(row("conversations", "c", **second), 1_000_000, replayed=False)
    task.apply_row(row("conversations", "c", status="open"), 100, replayed=False)
    list(task.flushing())
    assert len(task.row("c").columns) == MANY + 1
