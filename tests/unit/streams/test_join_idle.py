"""Idle conversations are found, judged again by their owner, and removed with their messages, whoever dies."""

import asyncio
import contextlib
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avro.codec import encoder
from openbsp.merge.registers import undated
from streams.engine.source import Record
from streams.engine.stores import Store, group_key, prefix
from streams.engine.stores.memory import GroupedMemoryStore
from streams.engine.stores.rocks import RocksMemory, RocksStore
from streams.engine.writer import Checkpoint, Writer
from streams.state import contribution as contributions
from streams.state import conversation
from streams.state.contribution import Contribution
from streams.state.conversation import ConversationFacts
from streams.tables.contributions import ContributionRecord, encode_record
from streams.tables.idle import encode_eviction, idle_conversations, last_activity
from streams.tables.owned import CONVERSATIONS
from support.join import Join, empty_stores, program
from support.parts import part_of

IDLE_BEFORE = 1_000
OLD, NEW = 500, 2_000

instants = st.integers(-50, 50)
versions = st.none() | instants
texts = st.sampled_from(["c", "d"])


def registers(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.just(0), versions.map(undated), st.none() | values)


parts = st.builds(
    lambda columns, partial, status: Contribution(
        columns=[columns.get(name) for name in contributions.NAMES],
        partial_columns=[partial.get(name) for name in contributions.NAMES],
        status=status,
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "conversation_id": registers(texts),
            "direction": registers(texts),
            "timestamp": registers(instants | st.just(b'"infinity"')),
            "created_at": registers(instants),
            "updated_at": registers(instants),
        },
    ),
    st.fixed_dictionaries({}, optional={"service": registers(texts), "timestamp": registers(instants)}),
    st.dictionaries(st.sampled_from(["sent", "read"]), registers(instants)),
)
rows = st.builds(
    lambda columns: ConversationFacts(columns=columns),
    st.fixed_dictionaries(
        {},
        optional={
            "name": registers(texts),
            "updated_at": registers(instants | st.just(b"{}")),
            "created_at": registers(instants),
        },
    ),
)
tables = st.dictionaries(texts, st.tuples(st.none() | rows, st.dictionaries(st.sampled_from(["m1", "m2"]), parts)))


def told_by(key: str, row: ConversationFacts | None, messages: dict[str, Contribution]) -> set[int]:
    """Return all instants that a conversation tells, said another way than the code says it."""
    found = list(row.columns.items()) if row is not None else []
    for part in messages.values():
        if contributions.belongs_to(part, key):
            found += zip(contributions.NAMES, part.columns, strict=True)
            found += zip(contributions.NAMES, part.partial_columns, strict=True)
            found += part.status.items()
    told = [(name, *register) for name, register in found if register is not None]
    dated = {stamp // 2 for _, _, stamp, _ in told if stamp != undated(None)}
    values = {value for _, _, _, value in told if isinstance(value, int)}
    return dated | values


def fill(store: Store, table: dict[str, tuple[ConversationFacts | None, dict[str, Contribution]]]) -> None:
    for key, (row, messages) in table.items():
        if row is not None:
            store.put(group_key(key.encode(), b""), conversation.encode(row))
        for message_id, part in messages.items():
            store.put(group_key(key.encode(), message_id.encode()), contributions.encode(part))


def result_of(steps: Generator[None, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@given(table=tables, before=instants)
def test_the_last_activity_is_the_latest_instant_that_a_conversation_tells(table, before):
    """Whatever has left the conversation tells nothing; who tells nothing is not idle."""
    store = GroupedMemoryStore()
    fill(store, table)
    told = {key: told_by(key, *known) for key, known in table.items()}
    for key, told_of in told.items():
        assert result_of(last_activity(key, store.scan(prefix(key.encode())))) == max(told_of, default=None)
    found = list(idle_conversations(store, before))
    assert sorted(found) == sorted(key for key, told_of in told.items() if told_of and max(told_of) < before)


def message_of(conversation_id: str, at: int) -> Contribution:
    columns = {"conversation_id": conversation_id, "organization_id": "org", "direction": "incoming"}
    return part_of(columns | {"timestamp": at, "created_at": at}, at, {"read": at})


def test_a_search_lets_others_get_their_turn_in_conversations_of_any_size(tmp_path: Path):
    store = RocksStore(tmp_path / "db", RocksMemory(16 << 20))
    for index in range(3_000):
        fill(store, {"large": (None, {f"m{index:05}": message_of("large", OLD)})})
        fill(store, {f"small{index:05}": (None, {"m": message_of(f"small{index:05}", NEW if index % 2 else OLD)})})
    found = list(idle_conversations(store, IDLE_BEFORE))
    assert found.count(None) >= 6_000 // 250
    assert {key for key in found if key} == {"large", *(f"small{index:05}" for index in range(0, 3_000, 2))}
    store.close()


class KilledError(Exception):
    """The process is gone."""


class Broker(Writer):
    """Takes records and acknowledges them when it is asked; takes no more after so many, as if the worker had died."""

    waited_s = 0.0  # type: ignore[assignment] # a property of the real one

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.sent: list[tuple[str, bytes | None, bytes | None]] = []
        self.acknowledged_count = 0
        #: Acknowledges nothing while it is true.
        self.deaf = False

    def write(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int = -1, headers: Any = None
    ) -> None:
        del partition, headers
        if self.most is not None and len(self.sent) >= self.most:
            raise KilledError
        self.sent.append((topic, key, value))

    def poll(self) -> None:
        if not self.deaf:
            self.acknowledged_count = len(self.sent)

    def checkpoint(self, positions: Any, received_at: int | None = None) -> Checkpoint:
        del positions, received_at
        return Checkpoint()

    @property
    def idle(self) -> bool:
        return self.acknowledged_count == len(self.sent)

    @property
    def outstanding(self) -> int:  # type: ignore[override] # a number in the real one
        return len(self.sent) - self.acknowledged_count


def join_of(store: Store, broker: Broker) -> Join:
    stores = empty_stores([0]) | {(CONVERSATIONS, 0): store}
    return Join(program(prefix=""), broker, stores, in_flight_records=1_000)


def contribution(conversation_id: str, message_id: str, part: Contribution) -> Record:
    value = encode_record(ContributionRecord(message_id, part, []))
    return Record("streams-contributions", 0, 0, conversation_id.encode(), value)


def eviction(conversation_id: str) -> Record:
    return Record("streams-contributions", 0, 7, conversation_id.encode(), encode_eviction(IDLE_BEFORE))


def row(conversation_id: str, action: str = "insert", organization: str | None = None) -> Record:
    fields = dict.fromkeys(
        ("organization_id", "service", "organization_address", "contact_address", "group_address", "name", "status")
    )
    event = fields | {
        "id": conversation_id,
        "event_id": "e",
        "action": action,
        "organization_id": organization,
        "received_at": 0,
        "created_at": None,
        "updated_at": None,
        "extra": {},
        "nulls": [],
        "status": "open",
    }
    value = encoder("ConversationEvent", 2)(event)
    return Record("conversations", 0, 0, conversation_id.encode(), value)


def history(count: int = 3) -> list[Record]:
    """Return a conversation whose row tells no time, with its messages and one that has left it."""
    told = [contribution("c", f"m{n}", message_of("c", OLD)) for n in range(count)]
    return [row("c"), *told, contribution("c", "left", message_of("d", NEW))]


def last_of(broker: Broker, topic: str) -> dict[bytes | None, bytes | None]:
    return {key: value for name, key, value in broker.sent if name == topic}


def members_left(sent: list[tuple[str, bytes | None, bytes | None]]) -> Store:
    """Return what a new owner restores from the changelog."""
    store = GroupedMemoryStore()
    for topic, key, value in sent:
        if topic == "streams-conversations-changelog" and key:
            if value is None:
                store.delete(key)
            else:
                store.put(key, value)
    return store


def test_an_idle_conversation_takes_its_messages_along_and_no_others():
    async def check() -> None:
        broker, store = Broker(), GroupedMemoryStore()
        join = join_of(store, broker)
        await join.process([*history(), eviction("c"), contribution("d", "left", message_of("d", NEW))])
        join.flush()
        assert last_of(broker, "messages") == dict.fromkeys((b"m0", b"m1", b"m2"))
        assert last_of(broker, "conversation-state")[b"c"] is None
        assert last_of(broker, "conversation-state")[b"d"] is not None
        assert list(store.scan(prefix(b"c"))) == list(members_left(broker.sent).scan(prefix(b"c"))) == []
        assert join.position("streams-contributions", 0) == 1  # the last record's

    asyncio.run(check())


def test_a_conversation_that_has_become_active_stays_as_it_is():
    async def check() -> None:
        broker, store = Broker(), GroupedMemoryStore()
        join = join_of(store, broker)
        await join.process([*history(), contribution("c", "m9", message_of("c", NEW)), eviction("c")])
        join.flush()
        assert last_of(broker, "messages") == {}
        assert last_of(broker, "conversation-state")[b"c"] is not None
        assert len(list(store.scan(prefix(b"c")))) == 6
        assert join.position("streams-contributions", 0) == 8

    asyncio.run(check())


@pytest.mark.parametrize("organization", ["org", "another"], ids=["that has not answered yet", "of somebody else"])
def test_a_deleted_conversation_is_remembered_whatever_its_messages_say(organization):
    """A message in it is not deleted: one that has not answered yet, or one of another organization."""

    async def check() -> None:
        broker, store = Broker(), GroupedMemoryStore()
        join = join_of(store, broker)
        opened = row("c", organization=organization)
        await join.process([contribution("c", "m", message_of("c", OLD)), opened])
        join.flush()
        assert list(idle_conversations(store, IDLE_BEFORE)) == ["c"]
        await join.process([row("c", "delete", organization)])
        join.flush()
        assert list(idle_conversations(store, IDLE_BEFORE)) == []
        # A request from before the delete was known, then the row once more.
        await join.process([eviction("c"), opened])
        join.flush()
        assert last_of(broker, "messages") == {}
        assert last_of(broker, "conversation-state")[b"c"] is None

    asyncio.run(check())


async def before_a_removal(end: int | None = None) -> tuple[Broker, GroupedMemoryStore, Join]:
    """Return a join of the history whose worker ends after so many records, and where they go."""
    broker, store = Broker(end), GroupedMemoryStore()
    join = join_of(store, broker)
    await join.process(history())
    join.flush()
    return broker, store, join


async def records_of_a_removal() -> range:
    """Return after how many records a worker may end that removes the conversation; the last: with all of them."""
    calm, _, undisturbed = await before_a_removal()
    before = len(calm.sent)
    await undisturbed.process([eviction("c")])
    return range(before, len(calm.sent) + 1)


@pytest.mark.parametrize("durable", [True, False], ids=["the disk has it all", "the disk has nothing"])
def test_a_crash_at_any_record_of_a_removal_leaves_what_the_replay_completes(durable):
    """The messages are gone before the list of them, the changelog's rows before nobody knows of them any more."""

    async def check() -> None:
        for end in await records_of_a_removal():
            broker, store, join = await before_a_removal(end)
            try:
                await join.process([eviction("c")])
            except KilledError:
                assert join.position("streams-contributions", 0) < 8
            broker.most = None
            heir = store if durable else members_left(broker.sent)
            await join_of(heir, broker).process([eviction("c")])
            assert last_of(broker, "messages").keys() == {b"m0", b"m1", b"m2"}, end
            assert last_of(broker, "conversation-state")[b"c"] is None, end
            assert list(heir.scan(b"")) == list(members_left(broker.sent).scan(b"")) == [], end

    asyncio.run(check())


def test_a_removal_that_was_cut_off_and_is_not_due_any_more_has_deleted_nothing():
    """Its worker had written tombstones of rows that its disk still has."""

    async def check() -> None:
        for end in (await records_of_a_removal())[:-1]:
            broker, store, join = await before_a_removal(end)
            with contextlib.suppress(KilledError):
                await join.process([eviction("c")])
            broker.most = None
            heir = join_of(store, broker)
            await heir.process([contribution("c", "m9", message_of("c", NEW)), eviction("c")])
            heir.flush()
            assert sorted(members_left(broker.sent).scan(b"")) == sorted(store.scan(b"")), end

    asyncio.run(check())


def test_a_request_that_is_met_before_the_tables_are_complete_waits_until_they_are():
    """Tables that are made from the sources again lack for a while what keeps a conversation alive."""

    async def check() -> None:
        broker, store = Broker(), GroupedMemoryStore()
        stores = empty_stores([0]) | {(CONVERSATIONS, 0): store}
        ends = {("streams-contributions", 0): 9, ("conversations", 0): 1}
        join = Join(program(prefix=""), broker, stores, ends=ends)
        told = [one for one in history() if one.topic != "conversations"]
        await join.process([*told, eviction("c")])
        join.flush()
        postponed = ("streams-contributions", b"c", encode_eviction(IDLE_BEFORE))
        assert broker.sent.count(postponed) == 1
        assert last_of(broker, "messages") == {}
        alive = contribution("c", "m9", message_of("c", NEW))._replace(offset=8)
        await join.process([row("c"), alive, eviction("c")._replace(offset=9)])
        join.flush()
        assert broker.sent.count(postponed) == 1
        assert last_of(broker, "messages") == {}
        assert last_of(broker, "conversation-state")[b"c"] is not None

    asyncio.run(check())


def test_nothing_comes_into_the_middle_of_a_removal():
    """A repair of the own logs would write what has just been taken back. A join that is being closed ends the wait."""

    async def check() -> None:
        broker = Broker()
        join = join_of(GroupedMemoryStore(), broker)
        await join.process(history())
        repair = partial(join.work.rewrite, CONVERSATIONS, 0, CONVERSATIONS, [])
        assert await repair() is not None
        broker.deaf = True
        removing = asyncio.create_task(join.process([eviction("c")]))
        waiting = asyncio.create_task(repair())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        broker.deaf = False
        assert await removing
        assert await waiting is not None
        await join.close()
        assert await repair() is None

    asyncio.run(check())


def test_a_request_that_cannot_be_read_is_a_dead_letter():
    async def check() -> None:
        broker = Broker()
        join = join_of(GroupedMemoryStore(), broker)
        broken = eviction("c")._replace(value=encode_eviction(1) + b"?")
        wrong_place = eviction("c")._replace(topic="conversations")
        await join.process([broken, wrong_place])
        assert join.refused == 2
        assert {topic for topic, _, _ in broker.sent} == {"dead-letters"}

    asyncio.run(check())
