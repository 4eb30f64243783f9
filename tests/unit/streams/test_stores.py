"""Every kind of store keeps the same promises."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.engine.outside import Clock
from streams.engine.stores import Store, group_key, prefix
from streams.engine.stores.memory import GroupedMemoryStore, MemoryStore
from streams.engine.stores.rocks import RocksMemory, RocksStore

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


def test_rocksdb_finds_data_position_and_mark_again(tmp_path: Path) -> None:
    first = RocksStore(tmp_path, MEMORY)
    first.put(b"k", b"v")
    first.save_mark(3)
    first.save_position(4)
    first.close()
    again = RocksStore(tmp_path, MEMORY)
    assert (again.get(b"k"), again.position, again.mark) == (b"v", 4, 3)
    again.close()


class LaterClock(Clock):
    def time(self) -> float:
        return super().time() + STALE_AFTER_S + 1


def test_rocksdb_forgets_what_is_older_than_tombstones_are_kept(tmp_path: Path) -> None:
    first = RocksStore(tmp_path, MEMORY)
    first.put(b"k", b"deleted elsewhere meanwhile")
    first.save_position(4)
    first.close()
    again = RocksStore(tmp_path, MEMORY, LaterClock(), STALE_AFTER_S)
    assert (again.get(b"k"), again.position) == (None, 0)
    again.close()
