"""Restoring a table and reading gaps, from a log that is a list."""

import asyncio
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from simulation.log import SimulatedMessage
from streams.engine import guard
from streams.engine.errors import RestoreFailedError
from streams.engine.guard import Gap
from streams.engine.outside import Clock, Threads
from streams.engine.restore import Changelog, restore
from streams.engine.source import read
from streams.engine.stores import MARK_KEY
from streams.engine.stores.memory import MemoryStore

TOPIC = "changelog"


class Message(SimulatedMessage):
    def __init__(self, offset: int, key: bytes | None = None, value: bytes | None = None, error: Any = None) -> None:
        super().__init__((TOPIC, 0), offset, key, value, None, error)


class Log:
    """What a consumer of one partition does; the records are those after compaction."""

    def __init__(self, records: list[Message], end: int, *, at_once: int = 1000) -> None:
        self.records, self.end, self.at_once = records, end, at_once
        self.reads = 0

    def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
        return 0, self.end

    def assign(self, partitions: list[Any]) -> None:
        self._rest = [record for record in self.records if record.offset() >= partitions[0].offset]
        self._rest.append(Message(self.end, error=KafkaError(KafkaError._PARTITION_EOF)))

    def unassign(self) -> None:
        pass

    def poll(self, _: float) -> Message | None:
        self.reads += 1
        return self._rest.pop(0) if self._rest else None

    def consume(self, count: int, _: float) -> list[Message]:
        assert count <= 1_000_000, "librdkafka refuses to return more at once"
        taken = self._rest[: min(count, self.at_once)]
        del self._rest[: len(taken)]
        return taken


def restored(log: Log, store: MemoryStore, doubtful: int) -> int:
    thread = Threads().thread("restore")
    changelogs = {(TOPIC, 0): Changelog(store, doubtful, last_wins)}
    return asyncio.run(restore(log, changelogs, thread=thread, clock=Clock()))


def last_wins(_: bytes, __: bytes, new: bytes) -> bytes:
    return new


def test_reads_only_what_came_after_the_position_tombstones_and_marks_among_it() -> None:
    store = MemoryStore()
    store.put(b"a", b"1")
    store.put(b"b", b"1")
    store.save_position(5)
    log = Log([Message(0, b"a", b"0"), Message(6, b"b"), Message(7, MARK_KEY, (42).to_bytes(8))], 8)
    assert restored(log, store, 8) == 2
    assert (store.get(b"a"), store.get(b"b"), store.mark, store.position) == (b"1", None, 42, 8)


def test_a_store_whose_table_is_built_again_keeps_its_position() -> None:
    """A takeover may be cut off before it is noted that the table is incomplete, and the next one has to see it."""
    store = MemoryStore()
    store.put(b"a", b"1")
    store.save_position(3)
    changelog = Changelog(store, 8, lambda _key, kept, read: kept + read)
    changelog.rebuild(6)
    log = Log([Message(6, b"a", b"0"), Message(7, b"b", b"0")], 8)
    assert asyncio.run(restore(log, {(TOPIC, 0): changelog}, thread=Threads().thread("restore"), clock=Clock())) == 2
    assert (store.get(b"a"), store.get(b"b")) == (b"10", b"0")
    assert (changelog.position, store.position) == (8, 3)


def test_records_that_are_deleted_before_they_are_read_end_it_and_the_position_stays() -> None:
    """Else what is left of the changelog would be taken for the whole table."""
    store = MemoryStore()
    log = Log([Message(0, b"a", b"1"), Message(1, error=KafkaError(KafkaError._AUTO_OFFSET_RESET))], 3)
    with pytest.raises(RestoreFailedError, match="deleted while it was read"):
        restored(log, store, 3)
    assert store.position == 0


def test_a_value_that_counts_as_false_is_one_also_after_a_tombstone_of_the_same_batch() -> None:
    store = MemoryStore()
    restored(Log([Message(0, b"a", b"1"), Message(1, b"a"), Message(2, b"a", b"")], 3), store, 3)
    assert store.get(b"a") == b""


def early(at: int) -> Message:
    """Return the end that a broker tells which has just begun to lead, and does not know yet how far it has it."""
    return Message(at, error=KafkaError(KafkaError._PARTITION_EOF))


def test_an_end_before_the_end_is_read_beyond() -> None:
    """Else acknowledged records would be missing, and taken for those of a former owner."""
    store = MemoryStore()
    log = Log([Message(0, b"a", b"1"), early(1), Message(1, b"b", b"1"), Message(2, b"a", b"2")], 3, at_once=0)
    assert restored(log, store, 3) == 3
    assert (store.get(b"a"), store.get(b"b"), store.position) == (b"2", b"1", 3)


def test_an_end_before_the_end_of_a_gap_is_read_beyond() -> None:
    log = Log([Message(0, b"a", b"1"), early(1), Message(1, b"b", b"1")], 2, at_once=0)
    assert guard._keys(log, Gap(TOPIC, 0, 0, 2)) == {b"a", b"b"}


def test_a_gap_whose_last_records_are_compacted_ends_where_the_log_does_or_goes_on() -> None:
    assert guard._keys(Log([Message(0, b"a", b"1")], 9), Gap(TOPIC, 0, 0, 5)) == {b"a"}
    assert guard._keys(Log([Message(0, b"a", b"1"), Message(7, b"c", b"1")], 9), Gap(TOPIC, 0, 0, 5)) == {b"a"}


def test_a_gap_of_millions_is_read_in_slices() -> None:
    log = Log([Message(offset, b"k%d" % (offset % 7), b"") for offset in range(3_000)], 3_000_000, at_once=10)
    assert guard._keys(log, Gap(TOPIC, 0, 0, 3_000_000)) == {b"k%d" % number for number in range(7)}
    assert log.reads > guard._SILENT_READS


def test_an_error_that_may_have_skipped_records_does_not_pass() -> None:
    log = Log([Message(0, b"a", b"1"), Message(1, error=KafkaError(KafkaError._BAD_MSG))], 2)
    log.assign([type("At", (), {"offset": 0})])
    with pytest.raises(KafkaException):
        read(log, 10, 0)


def test_a_broker_that_went_away_passes() -> None:
    log = Log([Message(0, error=KafkaError(KafkaError._ALL_BROKERS_DOWN)), Message(1, b"a", b"1")], 2)
    log.assign([type("At", (), {"offset": 0})])
    assert [record.offset for record in read(log, 10, 0).records] == [1]
