"""Repair of a changelog that lacks what its table has."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from simulation.log import SimulatedMessage
from streams.engine import repair as repair_module
from streams.engine.errors import WriteFailedError
from streams.engine.guard import Guard
from streams.engine.outside import Clock
from streams.engine.repair import Repair
from streams.engine.stores.memory import MemoryStore
from streams.engine.table import PlainContents, TablePartition, TableSpec
from streams.engine.writer import Writer

LOG = ("changelog", 0)
TABLE = TableSpec(source="source", changelog="changelog")
MANY = 10_001


class EmptyLogs:
    """Logs in which nothing is."""

    async def ends(self, logs: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(logs, 0)

    async def keys(self, gap: Any) -> set[bytes]:
        del gap
        return set()


class LeftLogs(EmptyLogs):
    """Logs in which a key is that its table has no more."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def keys(self, gap: Any) -> set[bytes]:
        self.asked.append(gap.end)
        return {b"removed"}


class Written:
    """Acknowledges at once, and counts who else had a turn meanwhile."""

    idle = True
    pending = 0

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []

    def write(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int = -1, headers: Any = None
    ) -> None:
        del topic, value, partition, headers
        self.keys.append(key)


class Work:
    """An assignment of one table of which all is caught up."""

    def __init__(self, written: Written) -> None:
        store = MemoryStore()
        for number in range(MANY):
            store.put(b"%d" % number, b"v")
        rows = TablePartition(0, store, "changelog", written)
        self._written = written
        self.rooms = 0
        self.rows = {"changelog": {0: rows}}
        self.contents = {"changelog": {0: PlainContents(rows)}}

    def caught_up(self, partition: int) -> bool:
        return partition == 0

    async def room(self) -> None:
        self.rooms += 1

    async def rewrite(self, table: str, partition: int, topic: str, keys: list[bytes]) -> Written:
        for key in keys:
            self.contents[table][partition].rewrite(topic, key)
        return self._written


async def committed() -> bool:
    return True


def test_a_large_table_is_read_in_slices_and_written_whole():
    async def check() -> None:
        written = Written()
        work: Any = Work(written)
        guard = Guard(EmptyLogs())
        guard.begin({LOG: 0})
        guard.owe([LOG])
        turns = 0
        turns_before_writing = []

        async def others() -> None:
            nonlocal turns
            while not written.keys:
                turns += 1
                turns_before_writing.append(turns)
                await asyncio.sleep(0)

        repair = Repair(guard, written, committed, lambda: work, {"changelog": TABLE})
        await asyncio.gather(others(), repair.look())
        assert sorted(written.keys) == sorted(b"%d" % number for number in range(MANY))
        assert len(turns_before_writing) > 3
        assert guard.gaps == []
        assert work.rooms > MANY / 1_000  # the broker is not sent more than it can take

    asyncio.run(check())


class FailingProducer:
    """Its broker takes nothing: each record is reported as failed at the next poll, in one of two ways."""

    def __init__(self, error: KafkaError | None) -> None:
        self.error = error
        self.asked = asyncio.Event()
        self.reports: list[Any] = []

    def produce(self, topic: str, value: Any, key: Any, partition: int, delivered: Any, headers: Any = None) -> None:  # noqa: PLR0917 confluent-kafka's
        del value, key, headers
        self.reports.append((delivered, (topic, partition)))
        self.asked.set()

    def purge(self) -> None:
        """Nothing is left."""

    def poll(self, _: float) -> int:
        while self.reports:
            delivered, at = self.reports.pop(0)
            delivered(self.error, SimulatedMessage(at, -1001, None, None, None, self.error))
        return 0


@pytest.mark.parametrize("error", [KafkaError(KafkaError._MSG_TIMED_OUT), None], ids=["refused", "without an offset"])
def test_a_rewrite_that_failed_has_repaired_nothing(error: KafkaError | None):
    """The worker ends for it, and commits before that how far its changelogs are right."""

    async def check() -> None:
        producer = FailingProducer(error)
        clients: Any = SimpleNamespace(producer=lambda _: producer)
        writer = Writer(clients, Clock(), {}, 20)

        class Failing(Work):
            async def rewrite(self, table: str, partition: int, topic: str, keys: list[bytes]) -> Any:
                await super().rewrite(table, partition, topic, keys)
                return writer.checkpoint({})

        current: list[Any] = [Failing(writer)]
        guard = Guard(EmptyLogs())
        guard.begin({LOG: 0})
        guard.owe([LOG])
        owed = list(guard.gaps)
        repair = Repair(guard, writer, committed, lambda: current[0], {"changelog": TABLE})
        repairing = asyncio.create_task(repair.look())
        await producer.asked.wait()
        with pytest.raises(WriteFailedError):
            writer.poll()
        # As long as this worker takes to end.
        await asyncio.wait([repairing], timeout=3 * repair_module._WAIT_S)
        assert guard.gaps == owed
        current[0] = None
        await asyncio.wait([repairing])

    asyncio.run(check())


def test_a_log_that_was_cut_is_written_until_all_of_it_is_behind_its_former_end():
    """It is noticed by the offset of an own record; the first round ends before the former end, the second begins."""

    async def check() -> None:
        logs = LeftLogs()
        guard = Guard(logs)
        former_end, offset = 3 * MANY // 2, 1
        guard.begin({LOG: former_end})

        class Cut(Written):
            def write(
                self, topic: str, key: bytes | None, value: bytes | None, partition: int = -1, headers: Any = None
            ) -> None:
                nonlocal offset
                super().write(topic, key, value, partition, headers)
                guard.written(topic, partition, offset)
                offset += 1

        written = Cut()
        work: Any = Work(written)
        repair = Repair(guard, written, committed, lambda: work, {"changelog": TABLE})
        await repair.look()
        assert written.keys == []
        await work.rewrite("changelog", 0, "changelog", [b"0"])
        while guard.gaps:
            assert guard.verified() == {LOG: 0}
            await repair.look()
        assert written.keys.count(b"removed") == 3  # a row whose tombstone was cut off
        assert len(written.keys) == 1 + 3 * (MANY + 1)
        assert guard.verified() == {LOG: offset}
        # With what was written before the former end since the last round: tombstones are in no table.
        assert logs.asked[0] == 1
        assert 1 < logs.asked[1] < logs.asked[2] <= former_end

    asyncio.run(check())


def test_a_table_that_is_taken_away_while_it_is_read_is_left():
    async def check() -> None:
        written = Written()
        current: list[Any] = [Work(written)]
        guard = Guard(EmptyLogs())
        guard.begin({LOG: 0})
        guard.owe([LOG])
        repair = Repair(guard, written, committed, lambda: current[0], {"changelog": TABLE})

        async def taken_away() -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            current[0] = None

        await asyncio.gather(repair.look(), taken_away())
        assert written.keys == []

    asyncio.run(check())
