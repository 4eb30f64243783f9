"""Standby copies follow what others write, as far as that is verified, and are in nobody's way."""

import asyncio
import contextlib
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from faust.assignor.client_assignment import CopartitionedAssignment
from faust.assignor.copartitioned_assignor import CopartitionedAssignor
from faust.types import TP

from openbsp.kafka.connection import KafkaSettings
from simulation.log import SimulatedMessage
from streams.engine import standby
from streams.engine.app import App
from streams.engine.errors import CompactionError, StoreDamagedError
from streams.engine.guard import note
from streams.engine.membership import Committed
from streams.engine.outside import Clock, Outside
from streams.engine.partitions import Stores
from streams.engine.settings import EngineSettings
from streams.engine.standby import Standby, problem, reach
from streams.engine.stores.rocks import RocksStore
from streams.engine.table import TableSpec
from support.wait import eventually

LOG, TABLE = ("p.rows", 0), ("rows", 0)
SPEC = TableSpec(source="events", changelog="rows")


class Message(SimulatedMessage):
    def __init__(self, offset: int, key: bytes | None, value: bytes | None, error: Any = None) -> None:
        super().__init__(LOG, offset, key, value, None, error)


class Broker:
    """A changelog of one partition, and up to where its owner has noted that it is in order. It makes no producer."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes, bytes | None]] = []
        self.first = 0
        self.noted: int | None = None
        self.known_first = 0
        #: What distinguishes the changelog from others of its name; None: its owner notes none.
        self.topic: int | None = None
        self.begun: list[int] = []
        self.failures: list[Exception] = []
        self.answers = threading.Event()
        self.answers.set()
        self._rest: list[Message] = []

    def write(self, *records: tuple[bytes, bytes | None], noted: int | None = None) -> None:
        self.records += records
        self.noted = len(self.records) if noted is None else noted

    async def left(self, sources: Any) -> Mapping[Any, Committed]:
        (at,) = sources
        assert at == ("p.events", 0)
        noted = {"rows": self.noted, "rows@topic": self.topic, "rows@first": self.known_first}
        noted = {name: value for name, value in noted.items() if value is not None}
        return {} if self.noted is None else {at: Committed(7, note(noted))}

    def consumer(self, config: Mapping[str, Any]) -> "Broker":
        assert config["auto.offset.reset"] == "error"
        return self

    def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
        assert self.answers.wait(60)
        if self.failures:
            raise self.failures.pop()
        return self.first, len(self.records)

    def assign(self, partitions: list[Any]) -> None:
        (at,) = partitions
        self.begun.append(at.offset)
        self._rest = [Message(at.offset + n, *one) for n, one in enumerate(self.records[at.offset :])]
        self._rest.append(Message(len(self.records), None, None, KafkaError(KafkaError._PARTITION_EOF)))

    def unassign(self) -> None:
        self._rest = []

    def poll(self, _: float) -> Message | None:
        return self._rest.pop(0) if self._rest else None

    def consume(self, count: int, _: float) -> list[Message]:
        taken = self._rest[:count]
        del self._rest[:count]
        return taken

    def close(self) -> None:
        self.unassign()


def stores_in(
    directory: Path, clock: Clock | None = None, damaged: Callable[[StoreDamagedError], None] = lambda _: None
) -> Stores:
    settings = EngineSettings(
        app_id="app", kafka=KafkaSettings(), url="", partitions=2, data_dir=directory, tombstones_s=70
    )
    return Stores(settings, [("rows", False)], clock or Clock(), damaged)


class World:
    """A worker that owns nothing and keeps a copy of partition 0."""

    def __init__(self, directory: Path) -> None:
        self.broker = Broker()
        self.lags: list[Mapping[Any, int]] = []
        self.ending: list[StoreDamagedError] = []
        self.passed = 0
        #: How many times the broker was still to fail, each time when all had been followed or given up.
        self.failures_left: list[int] = []
        self.stores = stores_in(directory, damaged=self.ending.append)
        self.stores.own([], [0])

    async def follow(self, *late: tuple[str, int]) -> Standby:
        outside: Any = Outside(clients=self.broker)  # type: ignore[arg-type] # what is asked of them
        left, topic = self.broker.left, "p.{}".format
        made = Standby(outside, {}, "app", [SPEC], topic, left, self.stores, self.lags.append, self.passes, late)
        self.task = made.start()
        return made

    def passes(self) -> None:
        self.passed += 1
        self.failures_left.append(len(self.broker.failures))

    @property
    def store(self) -> RocksStore:
        return self.stores.open_copy(TABLE)  # type: ignore[return-value] # on disk

    async def until(self, condition: Callable[[], object]) -> None:
        await asyncio.to_thread(eventually, condition)
        assert not self.task.done()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(standby, "EVERY_S", 0.01)
    return World(tmp_path)


def followed(check: Callable[[], Any]) -> None:
    asyncio.run(check())


def test_a_copy_follows_up_to_what_is_verified_and_goes_on_from_there(world: World):
    """What comes later may be a former owner's: only a takeover knows how to take it in."""
    broker = world.broker

    async def check() -> None:
        made = await world.follow()
        broker.write((b"a", b"1"), (b"b", b"1"), (b"a", None), (b"b", b"older"), noted=3)
        await world.until(lambda: world.store.position == 3)
        await world.until(lambda: world.lags and world.lags[-1] == {TABLE: 1})
        assert (world.store.get(b"a"), world.store.get(b"b")) == (None, b"1")
        broker.write((b"b", b"2"))
        await world.until(lambda: world.lags[-1] == {TABLE: 0})
        assert (world.store.position, world.store.get(b"b")) == (5, b"2")
        assert broker.begun == [0, 3]
        await made.stop()

    followed(check)


def test_a_changelog_that_was_created_again_is_followed_from_its_first_record_and_the_copy_is_set_aside(world: World):
    async def check() -> None:
        made = await world.follow()
        world.broker.write((b"a", b"1"), (b"b", b"1"))
        await world.until(lambda: world.store.position == 2)
        former = world.store.path
        world.broker.records = []
        world.broker.write((b"c", b"1"))
        await world.until(lambda: world.store.position == 1)
        assert (world.store.get(b"a"), world.store.get(b"c")) == (None, b"1")
        assert former.with_name("0.damaged").is_dir()
        assert world.stores.set_aside() == ["rows"]
        await made.stop()

    followed(check)


@pytest.mark.parametrize("case", ["emptied", "created again", "created again, and longer"])
def test_a_late_partition_keeps_what_it_has_of_a_changelog_that_is_not_what_it_was(world: World, case: str):
    """Its store may be all that is left of the table: a takeover judges, and writes it back."""
    broker = world.broker

    async def check() -> None:
        broker.topic = 1
        made = await world.follow(TABLE)
        broker.write((b"a", b"1"), (b"b", b"1"))
        await world.until(lambda: world.store.position == 2 and world.passed)
        if case == "emptied":
            broker.write(*[(b"c", b"1")] * 3)
            broker.first = 4
        else:
            broker.topic = 2
            broker.records = []
            broker.write(*[(b"c", b"1")] * (1 if case == "created again" else 3))
        before = world.passed
        await world.until(lambda: world.passed > before + 2)
        assert (world.store.position, world.store.get(b"a"), world.store.get(b"c")) == (2, b"1", None)
        assert world.stores.set_aside() == []
        await made.stop()

    followed(check)


def test_copies_are_followed_by_another_client_after_failures_in_a_row(world: World):
    """One that has lost its last broker never has one again."""
    broker, made = world.broker, []

    class Clients:
        def consumer(self, _: Mapping[str, Any]) -> Broker:
            assert all(one.closed for one in made)
            made.append(Lost() if not made else Well())
            return made[-1]

    class Well(Broker):
        closed = False

        def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
            return broker.get_watermark_offsets()

        def assign(self, partitions: list[Any]) -> None:
            self.records = broker.records
            super().assign(partitions)

        def close(self) -> None:
            self.closed = True

    class Lost(Well):
        asked = 0

        def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
            self.asked += 1
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    async def check() -> None:
        broker.write((b"a", b"1"))
        outside: Any = Outside(clients=Clients())  # type: ignore[arg-type] # what is asked of them
        following = Standby(
            outside, {}, "app", [SPEC], "p.{}".format, broker.left, world.stores, world.lags.append, world.passes
        )
        world.task = following.start()
        await world.until(lambda: world.store.position == 1)
        assert [getattr(one, "asked", None) for one in made] == [standby._TRIES, None]
        await following.stop()

    followed(check)


def test_late_partitions_are_passed_once_they_are_read_and_after_failures_in_a_row(world: World):
    """A takeover reads what is left then, and says what is wrong. One failure stops nobody who is at work."""

    async def check() -> None:
        world.broker.write(*[(b"%d" % number, b"1") for number in range(20_000)])
        failures = [KafkaException(KafkaError(KafkaError._TRANSPORT)) for _ in range(standby._TRIES - 1)]
        world.broker.failures = list(failures)
        made = await world.follow(TABLE)
        await world.until(lambda: world.passed)
        assert world.store.position == 20_000
        assert set(world.failures_left) == {0}
        world.failures_left.clear()
        world.broker.write((b"more", b"1"))
        world.broker.failures = [*failures, *failures]
        await world.until(lambda: world.store.position == 20_001)
        assert [left for left in world.failures_left if left] == [
            3,
            2,
            1,
        ]  # of eight, after the fifth and those after it
        await made.stop()

    followed(check)


def test_a_changelog_that_was_created_again_and_has_grown_beyond_a_copy_is_noticed_by_its_id(world: World):
    async def check() -> None:
        made = await world.follow()
        world.broker.topic = 1
        world.broker.write((b"a", b"1"), (b"b", b"1"))
        await world.until(lambda: world.store.position == 2)
        world.broker.topic, world.broker.records = 2, []
        world.broker.write((b"b", b"2"), (b"c", b"2"), (b"d", b"2"))
        await world.until(lambda: world.store.position == 3 and world.store.topic == 2)
        assert [world.store.get(key) for key in (b"a", b"b", b"c", b"d")] == [None, b"2", b"2", b"2"]
        await made.stop()

    followed(check)


def overwrite(directory: Path) -> None:
    for path in directory.glob("*.sst"):
        path.write_bytes(bytes(byte ^ 0x5A for byte in path.read_bytes()))


def empty(directory: Path) -> None:
    for path in directory.glob("*.sst"):
        path.write_bytes(b"")


def lose_files(directory: Path) -> None:
    for path in directory.glob("*.sst"):
        path.unlink()


def found_by_compaction(store: RocksStore) -> None:
    """Have files read that were written over, which nobody may do for long."""
    with contextlib.suppress(CompactionError, StoreDamagedError):
        store.compact()


@pytest.mark.parametrize("harm", [overwrite, empty, shutil.rmtree])
def test_a_copy_that_is_damaged_while_it_is_followed_is_made_again_and_ends_no_worker(
    world: World, harm: Callable[[Path], None]
):
    async def check() -> None:
        made = await world.follow()
        world.broker.write((b"a", b"1"), (b"b", b"1"))
        await world.until(lambda: world.store.position == 2)
        damaged = world.store
        await asyncio.to_thread(damaged.compact)
        harm(damaged.path)
        world.broker.write((b"b", b"2"), (b"a", None))
        await asyncio.to_thread(found_by_compaction, damaged)
        world.broker.write((b"c", b"1"))
        await world.until(lambda: world.store is not damaged and world.store.position == 5)
        assert list(world.store.scan(b"")) == [(b"b", b"2"), (b"c", b"1")]
        assert world.ending == []
        assert world.stores.set_aside() == ([] if harm is shutil.rmtree else ["rows"])
        await made.stop()
        world.stores.close()

    followed(check)


@pytest.mark.parametrize("harm", [overwrite, empty, lose_files, shutil.rmtree])
def test_a_copy_that_was_damaged_before_it_is_opened_is_made_again(world: World, harm: Callable[[Path], None]):
    async def check() -> None:
        made = await world.follow()
        world.broker.write((b"a", b"1"), (b"b", b"1"))
        await world.until(lambda: world.store.position == 2)
        path = world.store.path
        await made.stop()
        world.stores.own([])
        harm(path)
        world.stores.own([], [0])
        made = await world.follow()
        await world.until(lambda: world.broker.begun == [0, 0] and world.store.position == 2)
        assert list(world.store.scan(b"")) == [(b"a", b"1"), (b"b", b"1")]
        assert world.ending == []
        assert world.stores.set_aside() == ([] if harm is shutil.rmtree else ["rows"])
        await made.stop()
        world.stores.close()

    followed(check)


@pytest.mark.parametrize("harm", [overwrite, empty, shutil.rmtree])
@pytest.mark.parametrize("owned", [[0], []], ids=["takes it over", "gives it up"])
def test_a_damaged_copy_is_in_the_way_of_no_rebalance(tmp_path: Path, harm: Callable[[Path], None], owned: list[int]):
    ending: list[StoreDamagedError] = []
    stores = stores_in(tmp_path, damaged=ending.append)
    stores.own([], [0])
    copy: Any = stores.open_copy(TABLE)
    for number in range(2):
        copy.put(b"a", b"%d" % number)
        copy.save_position(number + 1)
        copy.compact()
    harm(copy.path)
    copy.put(b"b", b"1")
    found_by_compaction(copy)
    with pytest.raises(StoreDamagedError):
        copy.save_position(3)
    assert ending == []
    taken = stores.own(owned)
    assert [(store.position, list(store.scan(b""))) for store in taken.values()] == [(0, [])] * len(owned)
    stores.close()
    again = stores_in(tmp_path)
    assert again.own([0])[TABLE].position == 0
    again.close()


def test_damage_of_a_store_whose_partition_is_owned_ends_the_worker_though_it_was_a_copy(tmp_path: Path):
    ending: list[StoreDamagedError] = []
    stores = stores_in(tmp_path, damaged=ending.append)
    stores.own([], [0])
    store: Any = stores.open_copy(TABLE)
    store.save_position(1)
    assert stores.own([0])[TABLE] is store
    store.put(b"a", b"1")
    shutil.rmtree(store.path)
    with pytest.raises(StoreDamagedError):
        store.compact()
    assert len(ending) == 1
    stores.close()


def test_what_keeps_a_copy_from_following_is_tried_again_and_ends_no_worker(world: World):
    async def check() -> None:
        world.broker.failures = [KafkaException(KafkaError(KafkaError._TIMED_OUT))]
        world.broker.write((b"a", b"1"))
        made = await world.follow()
        await world.until(lambda: world.lags[-1:] == [{TABLE: 0}])
        assert world.broker.failures == []
        await made.stop()

    followed(check)


def test_a_rebalance_does_not_wait_for_a_broker_that_a_copy_waits_for(world: World):
    """Only for the stores, which somebody else may use afterwards."""

    async def check() -> None:
        world.broker.answers.clear()
        world.broker.write((b"a", b"1"))
        made = await world.follow()
        await world.until(lambda: list(world.stores._on_disk()))
        await asyncio.wait_for(made.stop(), 10)
        world.broker.answers.set()
        await asyncio.wait_for(world.task, 10)
        assert (world.store.position, world.store.get(b"a"), world.lags) == (0, None, [])

    followed(check)


@pytest.mark.parametrize(
    ("position", "noted", "first", "end", "why"),
    [
        (0, 0, 50, 60, None),
        (0, None, 0, 0, None),
        (60, 60, 50, 60, None),
        (60, 40, 0, 80, None),  # of a former owner: its successor has not verified all of it yet
        (60, None, 0, 80, None),
        (61, 60, 0, 60, "ends at 60, but 61 records"),
        (49, 60, 50, 60, "begins at 50, but a standby copy had only 49"),
        (60, 0, 0, 60, "is being written once more"),
    ],
)
def test_a_copy_knows_what_it_cannot_follow(position: int, noted: int | None, first: int, end: int, why: str | None):
    found = problem("p.rows[0]", position, noted, first, end)
    assert found is None if why is None else why in (found or "")


@pytest.mark.parametrize(
    ("position", "noted", "first", "end", "known_first", "until"),
    [
        (0, 5, 0, 9, 0, 5),
        (0, 5, 4, 9, 4, 5),
        (5, 5, 0, 9, 0, None),
        (7, 5, 0, 9, 0, None),
        (0, None, 0, 9, 0, None),
        (0, 0, 0, 9, 0, None),
        (5, 9, 0, 8, 0, None),
        (0, 5, 7, 9, 0, None),  # its owner has not seen yet that it was emptied
        (0, 5, 4, 9, 0, None),  # nor here, and what is left is not all
        (0, 5, 4, 9, 3, None),
        (4, 5, 4, 9, 0, 5),  # this copy has what is gone
    ],
)
def test_a_copy_reads_nothing_that_is_not_verified(  # noqa: PLR0917 parameters
    position: int, noted: int | None, first: int, end: int, known_first: int, until: int | None
):
    assert reach(position, noted, first, end, known_first) == until


@pytest.mark.parametrize("late", [(), (TABLE,)], ids=["copy", "late partition"])
def test_what_is_left_of_an_emptied_changelog_is_not_taken_for_the_whole_table(world: World, late: Any):
    """Else a takeover would find it whole, and read nothing of the sources: what is gone would be lost for good."""
    broker = world.broker

    async def check() -> None:
        broker.write(*[(b"gone", b"1")] * 2, *[(b"left", b"1")] * 3)
        broker.first = 2
        made = await world.follow(*late)
        await world.until(lambda: len(world.lags) > 4)
        assert (world.store.position, world.store.get(b"left")) == (0, None)
        assert world.lags[-1] == {TABLE: 3}
        # The next owner has written all of it once more, and notes where it begins.
        broker.write((b"gone", b"1"))
        broker.known_first = 2
        await world.until(lambda: world.store.position == 6)
        assert (world.store.get(b"gone"), world.store.get(b"left")) == (b"1", b"1")
        await made.stop()

    followed(check)


def test_what_is_read_of_a_late_partition_makes_its_store_no_fresher_before_all_is_read(tmp_path: Path):
    """Tombstones behind its position may be gone by then, and what they deleted would come back."""
    clock = SetClock()
    stores = stores_in(tmp_path, clock)
    store = stores.own([0])[TABLE]
    store.save_position(5)
    clock.at += 50
    store.advance(8)
    clock.at += 50
    stores.own([])
    assert stores.own([0])[TABLE].position == 0  # it was too old, and is read again
    store = stores.own([0])[TABLE]
    store.advance(3)
    clock.at += 50
    store.save_position(9)
    clock.at += 50
    stores.own([])
    assert stores.own([0])[TABLE].position == 9
    stores.close()


def test_what_copies_and_late_partitions_have_in_memory_is_written_before_a_worker_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stores = stores_in(tmp_path)
    stores.own([0], [1])
    stores.open_copy(("rows", 1))
    flushed: list[str] = []
    monkeypatch.setattr(RocksStore, "flush", lambda store: flushed.append(store.path.name))
    stores.flush()
    assert sorted(flushed) == ["0", "1"]
    stores.close()


class SetClock(Clock):
    at = 1_000_000_000.0

    def time(self) -> float:
        return self.at


def test_a_store_stays_open_when_its_partition_is_owned_and_when_it_is_not_any_more(tmp_path: Path):
    stores = stores_in(tmp_path)
    assert stores.own([1], [0]).keys() == {("rows", 1)}
    copy = stores.open_copy(TABLE)
    copy.put(b"a", b"1")
    copy.save_position(3)
    assert stores.own([0], [1])[TABLE] is copy
    assert stores.own([1], [0]).keys() == {("rows", 1)}
    assert stores.open_copy(TABLE) is copy
    assert stores.own([1]).keys() == {("rows", 1)}
    reopened = stores.own([0])[TABLE]
    assert reopened is not copy
    assert stores.own([0], [1]).keys() == {TABLE}
    assert stores.own([0, 1]).keys() == {TABLE, ("rows", 1)}, "a copy that had not been opened yet"
    assert (reopened.position, reopened.get(b"a")) == (3, b"1")
    stores.close()


def test_a_copy_that_was_not_followed_for_as_long_as_tombstones_are_kept_is_not_relied_upon(tmp_path: Path):
    clock = SetClock()
    stores = stores_in(tmp_path, clock)
    stores.own([], [0])
    copy = stores.open_copy(TABLE)
    copy.put(b"deleted meanwhile", b"1")
    copy.save_position(3)
    clock.at += 70
    promoted = stores.own([0])[TABLE]
    assert (promoted.position, promoted.get(b"deleted meanwhile")) == (0, None)
    # What was owned all the time has seen every tombstone.
    promoted.save_position(4)
    clock.at += 70
    assert stores.own([0])[TABLE] is promoted
    stores.close()


def test_copies_need_a_directory():
    with pytest.raises(ValueError, match="need a data directory"):
        EngineSettings(app_id="a", kafka=KafkaSettings(), url="", partitions=1, standbys=1)


@pytest.mark.parametrize(("own", "kept"), [(0, frozenset()), (1, frozenset({2, 3}))])
def test_a_worker_without_copies_keeps_none_whatever_the_leader_of_its_group_assigns(
    tmp_path: Path, own: int, kept: frozenset[int]
):
    settings = EngineSettings(
        app_id="a", kafka=KafkaSettings(), url="http://127.0.0.1:1", partitions=1, data_dir=tmp_path, standbys=own
    )
    app: Any = App(settings)
    assert app.assignor.replicas == own
    assert app.conf.table_standby_replicas > 0, "Faust would take another assignor, which tells of no owners"
    app.assignor._assignment.standbys = {"messages": [2, 3], "conversations": [2, 3]}
    assert app.assignor.assigned_standbys() >= {TP("messages", 2), TP("conversations", 3)}
    assert app._standbys() == kept
    app._engine = SimpleNamespace()


@pytest.mark.parametrize("seed", range(50))
def test_faust_gives_each_copy_to_a_worker_that_does_not_own_the_partition_and_prefers_it_later(seed: int):
    """Whoever comes and goes; without the last worker's capacity a copy may be of no use."""
    random = Random(seed)
    partitions = random.choice([4, 12])
    members = {name: CopartitionedAssignment(topics={"t"}) for name in "abc"}
    for _ in range(10):
        found = CopartitionedAssignor(["t"], members, partitions, 1).get_assignment()
        owned = [number for one in found.values() for number in one.actives]
        copies = [number for one in found.values() for number in one.standbys]
        assert sorted(owned) == sorted(copies) == list(range(partitions))
        assert not any(one.actives & one.standbys for one in found.values())
        if len(found) == 2:
            gone, heir = random.sample(sorted(found), 2)
            assert found[heir].standbys == found[gone].actives
        members = {name: found.get(name) or CopartitionedAssignment(topics={"t"}) for name in "abc"}
        if random.random() < 0.5:
            del members[random.choice("abc")]
