"""Every kind of store keeps the same promises."""

import asyncio
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import AsyncMock, Mock, call

import pytest
from rocksdict import Rdict

from openbsp.kafka.connection import KafkaSettings
from streams.engine import engine as engine_module
from streams.engine.engine import Engine
from streams.engine.errors import CompactionError, StoreDamagedError, StoreDiskError
from streams.engine.hooks import Hooks
from streams.engine.layout import mark_value
from streams.engine.outside import Clock, Outside
from streams.engine.partitions import Stores
from streams.engine.settings import EngineSettings
from streams.engine.stores import MARK_KEY, Store, group_key, prefix, rocks
from streams.engine.stores.memory import GroupedMemoryStore, MemoryStore
from streams.engine.stores.rocks import RocksMemory, RocksStore
from streams.engine.table import OwnedTable, TablePartition, TableSpec
from support.wait import eventually

MEMORY = RocksMemory(16 * 1024 * 1024)

STALE_AFTER_S = 6 * 24 * 60 * 60

Open = Callable[[], Store]


@pytest.fixture(params=["memory", "grouped", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = {
        "memory": MemoryStore,
        "grouped": GroupedMemoryStore,
        "rocksdb": lambda: RocksStore(tmp_path / "store", MEMORY),
    }[request.param]()
    yield made
    made.close()


def test_holds_what_was_put_until_it_is_deleted(store: Store) -> None:
    key = group_key(b"conversation", b"message")
    assert store.get(key) is None
    store.put(key, b"one")
    store.put(key, b"two")
    assert store.get(key) == b"two"
    store.delete(key)
    store.delete(key)
    assert store.get(key) is None


def test_scans_a_group_and_nothing_else(store: Store) -> None:
    for group in (b"a", b"ab", b"\xff", b"\xff\xff", b""):
        for member in (b"", b"x", b"\xff"):
            store.put(group_key(group, member), group + member)
    for group in (b"a", b"ab", b"\xff", b"\xff\xff", b""):
        expected = {group_key(group, member): group + member for member in (b"", b"x", b"\xff")}
        assert dict(store.scan(prefix(group))) == expected


def test_begins_again_when_it_is_cleared(store: Store) -> None:
    store.put(b"\0\0\0\1a", b"1")
    store.save_mark(7)
    store.save_position(9)
    store.clear()
    assert store.get(b"\0\0\0\1a") is None
    assert (store.position, store.mark) == (0, 0)
    store.put(b"\0\0\0\1a", b"2")
    assert store.get(b"\0\0\0\1a") == b"2"


def test_the_mark_only_rises(store: Store) -> None:
    store.save_mark(7)
    store.save_mark(5)
    assert store.mark == 7


def test_rocksdb_finds_data_and_all_of_its_numbers_again(tmp_path: Path) -> None:
    first = RocksStore(tmp_path, MEMORY)
    first.put(b"k", b"v")
    first.save_mark(3)
    first.save_position(4)
    first.save_partitions(5)
    first.save_topic(2**48 - 1)
    first.close()
    again = RocksStore(tmp_path, MEMORY)
    assert again.get(b"k") == b"v"
    assert (again.position, again.mark, again.partitions, again.topic) == (4, 3, 5, 2**48 - 1)
    again.clear()
    assert (again.position, again.mark, again.partitions, again.topic) == (0, 0, 0, 0)
    again.close()


class LaterClock(Clock):
    def time(self) -> float:
        return super().time() + STALE_AFTER_S + 1


def test_rocksdb_takes_everything_that_is_written_faster_than_it_is_flushed(tmp_path: Path) -> None:
    """RocksDB refuses writes for moments then, as it is asked not to let them wait."""
    store = RocksStore(tmp_path / "store", RocksMemory(2 << 20))
    value = bytes(100_000)
    for number in range(500):
        store.put(b"%d" % number, value)
    assert sum(1 for _ in store.scan(b"")) == 500
    store.close()


@pytest.mark.parametrize(("ends_after_s", "waits_s"), [(0.3, 0.3), (5.0, 2.0)])
def test_a_write_that_is_slowed_down_waits_for_its_turn_and_no_longer_than_writes_are_slowed_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends_after_s: float, waits_s: float
) -> None:
    """One of a megabyte waits two seconds at the rate, which RocksDB may give up at any moment."""
    store = RocksStore(tmp_path / "store", MEMORY)
    pauses: list[float] = []
    tried_at: list[float] = []
    monkeypatch.setattr(rocks.time, "sleep", pauses.append)

    def put(*_: bytes) -> None:
        tried_at.append(sum(pauses))
        if len(tried_at) == 1:
            raise OSError("Result incomplete: Write stall")

    def number(name: str) -> int:
        return 1_000_000 if name == "rocksdb.actual-delayed-write-rate" and sum(pauses) < ends_after_s else 0

    monkeypatch.setattr(store, "_db", Mock(put=put, property_int_value=number))
    store.put(b"", bytes(999_999))  # a byte says that it is a row
    assert tried_at == [0, pytest.approx(waits_s, abs=0.05)]
    assert max(pauses) <= 0.05


def test_rocksdb_forgets_what_is_older_than_tombstones_are_kept(tmp_path: Path) -> None:
    first = RocksStore(tmp_path, MEMORY)
    first.put(b"k", b"deleted elsewhere meanwhile")
    first.save_position(4)
    first.close()
    again = RocksStore(tmp_path, MEMORY, LaterClock(), STALE_AFTER_S)
    assert (again.get(b"k"), again.position) == (None, 0)
    again.close()


def filled(path: Path) -> None:
    """Make a store with some files."""
    for number in range(3):
        store = RocksStore(path, MEMORY)
        for row in range(500):
            store.put(group_key(b"g%d" % number, b"%d" % row), os.urandom(100))
        store.save_position(number + 1)
        store.close()


def first(path: Path, pattern: str) -> Path:
    return min(path.glob(pattern))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garbage_in_the_position(path: Path) -> None:
    db = Rdict(str(path), RocksMemory(16 * 1024 * 1024).options())
    db[b"p"] = b"some garbage"
    db.close()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: first(path, "*.sst").unlink(), id="a file is missing"),
        pytest.param(lambda path: cut(first(path, "*.sst")), id="a file is cut"),
        pytest.param(lambda path: cut(first(path, "MANIFEST-*")), id="MANIFEST is cut"),
        pytest.param(lambda path: first(path, "MANIFEST-*").unlink(), id="MANIFEST is missing"),
        pytest.param(lambda path: (path / "CURRENT").unlink(), id="CURRENT is missing"),
        pytest.param(lambda path: (path / "CURRENT").write_bytes(b"??"), id="garbage in CURRENT"),
        pytest.param(garbage_in_the_position, id="garbage in the position"),
    ],
)
def test_a_damaged_store_is_set_aside_and_an_empty_one_takes_its_place(tmp_path: Path, damage) -> None:
    path = tmp_path / "3"
    for _ in range(2):  # one is kept
        filled(path)
        damage(path)
        store = RocksStore(path, MEMORY)
        assert store.set_aside is not None
        assert (store.position, list(store.scan(b""))) == (0, [])
        store.save_position(1)
        store.close()
        assert sorted(one.name for one in tmp_path.iterdir()) == ["3", "3.damaged"]
    again = RocksStore(path, MEMORY)
    assert (again.set_aside, again.position) == (None, 1)
    again.close()


@pytest.mark.parametrize("look", [lambda store: list(store.scan(b"")), lambda store: store.get(group_key(b"g0", b"0"))])
def test_damage_that_is_found_later_is_told_and_the_next_start_sets_the_store_aside(tmp_path: Path, look) -> None:
    path = tmp_path / "3"
    filled(path)
    table = first(path, "*.sst")
    content = bytearray(table.read_bytes())
    content[1000] ^= 255
    table.write_bytes(content)
    told: list[str] = []
    store = RocksStore(path, RocksMemory(16 * 1024 * 1024), damaged=lambda error: told.append(str(error)))
    assert store.set_aside is None
    with pytest.raises(StoreDamagedError, match="checksum"):
        look(store)
    assert len(told) == 1
    store.close()
    again = RocksStore(path, MEMORY)
    assert again.set_aside is not None
    again.close()


def bytes_of(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())


def test_a_compaction_leaves_nothing_of_what_was_deleted_or_overwritten(tmp_path: Path) -> None:
    # Values that compression leaves as they are. Trap: any random ones might have four bytes in common by chance.
    random = Random(1)
    values = {number.to_bytes(4): random.randbytes(200) for number in range(2_000)}
    first = RocksStore(tmp_path / "0", MEMORY)
    for key, value in values.items():
        first.put(key, value)
    first.close()
    store = RocksStore(tmp_path / "0", MEMORY)
    assert store.compact()
    kept = dict(list(values.items())[1_000:])
    for key in values.keys() - kept.keys():
        if key[-1] % 2:
            store.delete(key)
        else:
            store.put(key, b"nothing")
    assert all(value in bytes_of(tmp_path) for value in values.values())
    assert store.compact()
    left = bytes_of(tmp_path)
    assert [key for key, value in values.items() if value in left] == sorted(kept)
    assert {key: store.get(key) for key in kept} == kept
    store.close()


class Failing:
    """RocksDB whose compactions fail, of which its calls say nothing."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self.failed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def compact_range(self, *_: Any) -> None:
        self.failed += 1

    def property_int_value(self, name: str) -> int:
        assert name == "rocksdb.background-errors"
        return (self._database.property_int_value(name) or 0) + self.failed


def test_a_compaction_that_fails_is_not_taken_for_one_that_was_done(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "0", MEMORY)
    store.put(b"a", b"1")
    before = store.compacted_at
    database, store._db = store._db, Failing(store._db)
    with pytest.raises(CompactionError):
        store.compact()
    assert store.compacted_at == before
    store._db = database
    assert store.compact()
    store.close()


def test_a_store_that_is_closed_while_it_is_compacted_keeps_everything(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "0", MEMORY)
    for number in range(20_000):
        store.put(number.to_bytes(4), secrets.token_bytes(200))
    # Parts of it, so that there is something to compact in parts.
    store.compact()
    for number in range(0, 20_000, 3):
        store.put(number.to_bytes(4), b"new")
    thread = threading.Thread(target=store.compact)
    thread.start()
    store.put(b"last", b"1")
    store.close()
    thread.join()
    assert store.compact() is False
    again = RocksStore(tmp_path / "0", MEMORY)
    assert (again.set_aside, again.get(b"last"), again.get((3).to_bytes(4))) == (None, b"1", b"new")
    assert sum(1 for _ in again.scan(b"")) == 20_001
    again.close()


class Held:
    """RocksDB whose compactions last until they are let go."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self.begun = threading.Event()
        self.let_go = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def compact_range(self, *_: Any) -> None:
        self.begun.set()
        assert self.let_go.wait(60)


def test_stores_that_are_given_up_wait_for_one_part_of_a_compaction_and_not_for_one_each(tmp_path: Path) -> None:
    settings = EngineSettings(app_id="app", kafka=KafkaSettings(), url="", partitions=2, data_dir=tmp_path)
    stores = Stores(settings, [("table", False)], Clock())
    first, second = (store for _, store in sorted(stores.own([0, 1]).items()))
    assert isinstance(first, RocksStore)
    assert isinstance(second, RocksStore)
    held = first._db = Held(first._db)
    compacting = threading.Thread(target=first.compact)
    compacting.start()
    assert held.begun.wait(60)
    closing = threading.Thread(target=stores.close)
    closing.start()
    # While the first one waits for its part, nobody begins to compact the second one.
    eventually(lambda: second.compact() is False)
    assert closing.is_alive()
    held.let_go.set()
    for thread in (compacting, closing):
        thread.join()
    stores = Stores(settings, [("table", False)], Clock())
    assert set(stores.own([0, 1])) == {("table", 0), ("table", 1)}
    stores.close()


def test_rows_are_kept_and_written_as_the_bytes_that_they_are(store: Store) -> None:
    sender = Mock()
    rows = TablePartition(1, store, "changelog", sender)
    key = group_key(b"\xff", b"\x00")
    rows[key] = b"\x00\xff"
    list(rows.flushing())
    assert (rows[key], store.get(key)) == (b"\x00\xff", b"\x00\xff")
    assert sender.write.mock_calls == [call("changelog", key, b"\x00\xff", 1)]


def test_all_stores_share_one_limit(tmp_path: Path) -> None:
    limit = 4 << 20
    settings = EngineSettings(
        app_id="app", kafka=KafkaSettings(), url="", partitions=3, data_dir=tmp_path, rocksdb_memory_bytes=limit
    )
    stores = Stores(settings, [("table", False), ("other", False)], Clock())
    opened = [store for store in stores.own(range(3)).values() if isinstance(store, RocksStore)]
    assert len(opened) == 6

    def figures(name: str) -> list[int]:
        return [store._db.property_int_value(f"rocksdb.{name}") or 0 for store in opened]

    for store in opened:
        # Too little for one store to be flushed alone.
        for number in range(9):
            store.put(b"%d" % number, os.urandom(100_000))
    eventually(lambda: list(tmp_path.rglob("*.sst")))
    opened[0].compact()
    opened[0].get(b"1")
    assert figures("block-cache-capacity") == [limit // 2] * 6
    (usage,) = set(figures("block-cache-usage"))
    assert usage > 0
    stores.close()


def test_a_store_that_cannot_be_closed_leaves_no_other_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = EngineSettings(app_id="app", kafka=KafkaSettings(), url="", partitions=2, data_dir=tmp_path)
    stores = Stores(settings, [("table", False)], Clock())
    first, second = (store for _, store in sorted(stores.own([0, 1]).items()))
    assert isinstance(second, RocksStore)
    second.put(b"k", b"v")
    monkeypatch.setattr(first, "close", Mock(side_effect=StoreDiskError("full")))
    with pytest.raises(StoreDiskError, match="full"):
        stores.own(())
    again = RocksStore(second.path, MEMORY)
    assert again.get(b"k") == b"v"
    again.close()


def test_the_loop_goes_on_while_a_worker_that_stops_closes_its_stores(tmp_path: Path) -> None:
    settings = EngineSettings(app_id="app", kafka=KafkaSettings(), url="", partitions=1, data_dir=tmp_path)
    spec = TableSpec(source="words", changelog="counts")
    tables = {"counts": OwnedTable(spec)}

    async def check() -> None:
        outside = Outside(clients=Mock())
        engine = Engine(settings, sources=["words"], tables=tables, inbox=Mock(), hooks=Hooks(), outside=outside)
        (store,) = engine._stores.own([0]).values()
        assert isinstance(store, RocksStore)
        held = store._db = Held(store._db)
        compacting = threading.Thread(target=store.compact)
        compacting.start()
        assert held.begun.wait(60)
        closing = asyncio.create_task(engine.close())
        for _ in range(100):
            await asyncio.sleep(0)
        assert not closing.done()
        held.let_go.set()
        await closing
        compacting.join()

    asyncio.run(check())


class SetClock(Clock):
    def __init__(self, at: float) -> None:
        self.at = at

    def time(self) -> float:
        return self.at


DAY_S = 24 * 60 * 60


def test_a_store_whose_changelog_is_quiet_is_not_taken_for_one_that_was_away(tmp_path: Path) -> None:
    """Nobody but its owner could have deleted anything."""
    clock = SetClock(1_000_000_000.0)
    settings = EngineSettings(
        app_id="app", kafka=KafkaSettings(), url="", partitions=1, data_dir=tmp_path, tombstones_s=7 * DAY_S
    )
    tables = {"counts": OwnedTable(TableSpec(source="words", changelog="counts"))}
    outside = Outside(clients=Mock(), clock=clock)

    async def own(days: int) -> tuple[int, bytes | None]:
        engine = Engine(settings, sources=["words"], tables=tables, inbox=Mock(), hooks=Hooks(), outside=outside)
        (store,) = engine._stores.own([0]).values()
        if not store.position:
            store.put(b"k", b"v")
            store.save_position(5)
        found = store.position, store.get(b"k")
        sender = Mock()
        tables["counts"].rows = {0: TablePartition(0, store, "counts", sender)}
        engine._guard.begin({("counts", 0): found[0]})
        clock.at += days * DAY_S
        engine._write_marks()
        sender.write.assert_called_once_with("counts", MARK_KEY, mark_value(0, 1), 0)
        engine._guard.written("counts", 0, found[0])
        engine._save_positions()
        tables["counts"].rows = {}
        await engine.close()
        return found

    assert [asyncio.run(own(5)) for _ in range(3)] == [(5, b"v"), (6, b"v"), (7, b"v")]


def test_marks_are_written_again_for_as_long_as_partitions_are_owned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a broker forgets the producer of a quiet changelog, and its store looks as if it had been away."""
    monkeypatch.setattr(engine_module, "_MARK_INTERVAL_S", 0.005)
    sender = Mock()
    tables = {"counts": OwnedTable(TableSpec(source="words", changelog="counts"))}
    settings = EngineSettings(app_id="app", kafka=KafkaSettings(), url="", partitions=1)

    async def check() -> None:
        engine = Engine(
            settings, sources=["words"], tables=tables, inbox=Mock(), hooks=Hooks(), outside=Outside(clients=Mock())
        )
        engine.membership = AsyncMock()
        tables["counts"].rows = {0: TablePartition(0, MemoryStore(), "counts", sender)}
        running = asyncio.create_task(engine.run())
        await asyncio.sleep(0.05)
        sender.write.assert_not_called()
        engine._lease.confirm(engine._clock.monotonic())
        engine.assignment = AsyncMock(changed=False)
        for _ in range(3):
            written = asyncio.Event()
            sender.write.side_effect = lambda *_, written=written: written.set()
            await asyncio.wait_for(written.wait(), 30)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(check())
    assert sender.write.call_args == call("counts", MARK_KEY, mark_value(0, 1), 0)


def test_stores_are_compacted_once_in_an_interval_over_restarts_too(tmp_path: Path) -> None:
    clock = SetClock(1_000_000_000.0)
    settings = EngineSettings(app_id="app", kafka=KafkaSettings(), url="", partitions=2, data_dir=tmp_path)

    def start() -> Stores:
        stores = Stores(settings, [("table", False)], clock)
        stores.own([0, 1])
        return stores

    stores = start()
    assert stores.compacted_at == clock.at, "a new one is empty"
    clock.at += DAY_S - 1
    stores.tidy(DAY_S)
    assert stores.compacted_at == clock.at - DAY_S + 1
    for store in stores.own([0, 1]).values():
        store.save_position(1)
    stores.close()
    assert stores.compacted_at is None
    stores = start()
    clock.at += 1
    stores.tidy(DAY_S)
    assert stores.compacted_at == clock.at
    stores.close()


def test_files_that_nobody_uses_are_removed_and_no_others(tmp_path: Path) -> None:
    clock = Clock()
    settings = EngineSettings(app_id="app", kafka=KafkaSettings(), url="", partitions=3, data_dir=tmp_path)
    stores = Stores(settings, [("table", False)], clock)
    stores.own([0, 1, 2])
    stores.own([0])
    table = tmp_path / "app" / "table"
    (table / "0.damaged").mkdir()
    (table / "notes").mkdir()
    for path in [*table.rglob("*"), table / "notes"]:
        if path.relative_to(table).parts[0] != "2":
            os.utime(path, (0, 0))
    stores.tidy(DAY_S)
    assert sorted(path.name for path in table.iterdir()) == ["0", "2", "notes"]
    assert set(stores.own([0, 1])) == {("table", 0), ("table", 1)}
    stores.close()
