"""What an event costs does not grow with its conversation, and a conversation on disk costs no memory per message."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from avro.schemas import latest, records
from streams.contract import Contract
from streams.engine.stores.memory import GroupedMemoryStore
from streams.engine.table import TablePartition
from streams.engine.writer import Writer
from streams.state.contribution import Contribution
from streams.tables.contributions import ContributionRecord
from streams.tables.conversations import ConversationPartition
from streams.tables.owned import CONVERSATIONS
from support.parts import part_of

SMALL, LARGE = 10, 100_000
RECORDS = records()


class CountingStore(GroupedMemoryStore):
    """Counts calls, and each entry that a scan yields."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def get(self, key: bytes) -> bytes | None:
        self.calls["get"] += 1
        return super().get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self.calls["put"] += 1
        super().put(key, value)

    def delete(self, key: bytes) -> None:
        self.calls["delete"] += 1
        super().delete(key)

    def scan(self, prefix: bytes):
        self.calls["scan"] += 1
        for item in super().scan(prefix):
            self.calls["scanned"] += 1
            yield item


class DeafWriter(Writer):
    """Counts what is written, and the largest of it."""

    waited_s = 0.0

    def __init__(self) -> None:
        self.written: Counter[str] = Counter()
        self.largest = 0

    def write(self, topic: str, key: Any, value: bytes | None, partition: int = -1, headers: Any = None) -> None:
        del key, partition, headers
        self.written[topic] += 1
        self.largest = max(self.largest, len(value or b""))


def contribution(time: int, direction: str = "incoming", **status: int) -> Contribution:
    columns = {"conversation_id": "c", "organization_id": "org", "direction": direction, "timestamp": time}
    return part_of(columns | {"content": ["text", None, "hi"]}, time, status)


def task_of(size: int) -> tuple[ConversationPartition, CountingStore, DeafWriter]:
    assert all(latest(record) for record in RECORDS)
    store, writer = CountingStore(), DeafWriter()
    contract = Contract("", {record: number for number, record in enumerate(RECORDS, 1)})
    task = ConversationPartition(TablePartition(0, store, contract.topic(CONVERSATIONS), writer), contract, writer, 100)
    for number in range(size):
        task.apply_contribution("c", ContributionRecord(f"m{number}", contribution(10 * number + 1_000), []))
    list(task.flushing())
    store.calls.clear()
    writer.written.clear()
    writer.largest = 0
    return task, store, writer


def events() -> list[ContributionRecord]:
    """Return new messages, last and out of order, and changes of known ones; none takes an extreme its place away."""
    return [
        ContributionRecord("new", contribution(10_000_000), []),
        ContributionRecord("late", contribution(999, "outgoing", sent=5), ["sent"]),
        ContributionRecord("m5", contribution(1_050, read=7), ["read"]),
        ContributionRecord("new", contribution(10_000_000, read=9), ["read"]),
        ContributionRecord("early", contribution(1), []),
        ContributionRecord("m7", contribution(1_070, "internal"), []),
    ]


ROW = {
    **dict.fromkeys(
        ("organization_address", "contact_address", "group_address", "name", "status", "created_at", "updated_at")
    ),
    "id": "c",
    "organization_id": "org",
    "service": "whatsapp",
    "event_id": "e",
    "action": "insert",
    "received_at": 0,
    "extra": {},
    "nulls": [],
}


def in_order(names: list[str]) -> list[str]:
    return names


def backwards(names: list[str]) -> list[str]:
    return names[::-1]


def from_both_ends(names: list[str]) -> list[str]:
    return [name for pair in zip(names, names[::-1], strict=True) for name in pair][: len(names)]


@pytest.mark.parametrize("arrive", [in_order, backwards, from_both_ends])
@pytest.mark.parametrize("directions", [("incoming",), ("outgoing", "incoming")], ids=["asked", "answered first"])
def test_what_messages_of_one_time_cost_is_linear_in_their_number(arrive, directions):
    """Their ids alone order them, so one that comes may be the first, the last, or between all others."""
    costs = []
    for size in (1_000, 4_000):
        task, store, writer = task_of(0)
        # All of one direction come before those of the other: see the next test for the rest.
        for direction in directions:
            for name in arrive([f"{direction}-{number:05}" for number in range(size)]):
                task.apply_contribution("c", ContributionRecord(name, contribution(1_000, direction, sent=5), ["sent"]))
                list(task.publishing())
                list(task.flushing())
        assert task.state("c")["message_count"] == size * len(directions)
        costs.append({**store.calls, **writer.written})
    told = [sum(cost.values()) for cost in costs]
    print(f"\nfigure: calls and records of 1,000 messages of one time a direction: {told[0]}, of 4,000: {told[1]}")
    assert costs[1].keys() == costs[0].keys()
    # Some calls are made once, whatever the number.
    assert all(costs[1][name] <= 4 * costs[0][name] for name in costs[0])


def test_of_messages_of_one_time_that_answer_some_and_not_all_a_flush_counts_once():
    """Each answer makes all others be counted again, which waits for the flush: so many of them cost as much as one."""
    costs = []
    for size in (1_000, 4_000):
        task, store, _ = task_of(0)
        for direction in ("incoming", "outgoing"):
            for number in range(size):
                name = f"m{number:05}-{direction}"
                task.apply_contribution("c", ContributionRecord(name, contribution(1_000, direction), []))
            list(task.publishing())
            list(task.flushing())
        costs.append(dict(store.calls))
        assert task.state("c")["message_count"] == 2 * size
        assert store.calls["scanned"] == 2 * size
    print(f"\nfigure: 2,000 messages of one time {costs[0]}, 8,000 {costs[1]}")
    assert all(costs[1][name] <= 4 * costs[0][name] for name in costs[0])


def asked_then_answered(size: int) -> list[tuple[str, Contribution | None]]:
    asked = [(f"i{number}", contribution(number, "incoming")) for number in range(size)]
    return asked + [(f"o{number}", contribution(number, "outgoing")) for number in range(size)]


def answered_then_asked_backwards(size: int) -> list[tuple[str, Contribution | None]]:
    answered = [(f"o{number}", contribution(number, "outgoing")) for number in range(size)]
    return answered + [(f"i{number}", contribution(number, "incoming")) for number in reversed(range(size))]


def asked_then_forgotten(size: int) -> list[tuple[str, Contribution | None]]:
    asked = [(f"i{number}", contribution(number, "incoming")) for number in range(size)]
    return asked + [(name, None) for name, _ in asked]


def asked_then_forgotten_backwards(size: int) -> list[tuple[str, Contribution | None]]:
    asked = [(f"i{number}", contribution(number, "incoming")) for number in range(size)]
    return asked + [(name, None) for name, _ in reversed(asked)]


def asked_then_moved(size: int) -> list[tuple[str, Contribution | None]]:
    asked = [(f"i{number}", contribution(number, "incoming")) for number in range(size)]
    later = [(name, contribution_at(size + number, told=number + 1)) for number, (name, _) in enumerate(asked)]
    return asked + later


def contribution_at(time: int, told: int) -> Contribution:
    columns = {"conversation_id": "c", "organization_id": "org", "direction": "incoming", "timestamp": time}
    return part_of(columns | {"content": ["text", None, "hi"]}, 10_000_000 + told, {})


@pytest.mark.parametrize(
    "changes",
    [
        asked_then_answered,
        answered_then_asked_backwards,
        asked_then_forgotten,
        asked_then_forgotten_backwards,
        asked_then_moved,
    ],
)
def test_messages_in_any_order_each_flushed_alone_cost_no_more_than_their_number(changes):
    """Whatever the aggregates lose with each of them: the conversation is counted again twice, no more."""
    scanned = []
    for size in (200, 800):
        task, store, _ = task_of(0)
        task.apply_row(ROW, 100, replayed=False)
        for name, part in changes(size):
            task.apply_contribution("c", ContributionRecord(name, part, []))
            list(task.publishing())
            list(task.flushing())
        # The same as if it were counted for the first time.
        state = task.state("c")
        task._in_use.clear()
        assert task.state("c") == state
        scanned.append(store.calls["scanned"])
    print(f"\nfigure: {changes.__name__}: entries read for 400 changes {scanned[0]}, for 1,600 {scanned[1]}")
    assert scanned[1] <= 5 * (2 * 800 + 1)
    assert scanned[1] <= 5 * max(scanned[0], 1)


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
def test_an_event_costs_the_same_in_a_conversation_of_any_size(together):
    costs = []
    for size in (SMALL, LARGE):
        task, store, writer = task_of(size)
        for record in events():
            task.apply_contribution("c", record)
            if not together:
                list(task.publishing())
                list(task.flushing())
        list(task.publishing())
        list(task.flushing())
        costs.append((dict(store.calls), dict(writer.written)))
        assert writer.largest < 1_000
    print(costs)
    assert costs[0] == costs[1]
    assert "scan" not in costs[1][0]


TESTS = Path(__file__).parents[2]

_ON_DISK = """
import json, os, sys
sys.path.append(sys.argv[4])
from pathlib import Path
import psutil
from avro.schemas import records as names
from streams.contract import Contract
from streams.engine.table import TablePartition
from streams.state.contribution import Contribution
from streams.tables.contributions import ContributionRecord
from streams.tables.conversations import ConversationPartition
from streams.engine.stores.rocks import RocksMemory, RocksStore
from support.parts import part_of

class DeafWriter:
    def write(self, *_, **__):
        pass

def rss():
    return psutil.Process().memory_info().rss / 2**20

records = names()
store = RocksStore(Path(sys.argv[1]), RocksMemory(int(sys.argv[2])))
contract = Contract("", {name: n for n, name in enumerate(records, 1)})
rows = TablePartition(0, store, contract.topic("streams-conversations-changelog"), DeafWriter())
task = ConversationPartition(rows, contract, DeafWriter(), 100)
found = []
for number in range(int(sys.argv[3])):
    columns = {"conversation_id": "c", "organization_id": "org", "direction": "incoming", "timestamp": number}
    columns["content"] = ["text", None, os.urandom(125).hex()]
    part = part_of(columns, number, {"sent": number})
    task.apply_contribution("c", ContributionRecord(f"m{number:08}", part, ["sent"]))
    if number % 1000 == 999:
        list(task.publishing())
        list(task.flushing())
        found.append(rss())
state = task.state("c")
bytes_on_disk = sum(file.stat().st_size for file in Path(sys.argv[1]).rglob("*") if file.is_file())
print(json.dumps({"rss": found, "count": state["message_count"], "disk": bytes_on_disk / 2**20}))
"""


def test_memory_is_bounded_with_a_hundred_thousand_messages_on_disk(tmp_path: Path):
    """Beyond what RocksDB may use for all its stores together."""
    limit_mib = 8
    done = subprocess.run(
        [sys.executable, "-c", _ON_DISK, str(tmp_path / "db"), str(limit_mib << 20), str(LARGE), str(TESTS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    growth = max(told["rss"]) - told["rss"][0]
    print(f"{growth:.1f} MiB more memory, {told['disk']:.1f} MiB on disk")
    assert told["count"] == LARGE
    assert growth < 2 * limit_mib + 8
