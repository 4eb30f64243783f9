"""The real servers keep what the simulation assumes of them (tests/simulation/contracts.py)."""

import asyncio
import contextlib
import gc
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from faust.contrib.asgi import faust_app_running

from avro.catalogue import MAX_MESSAGE_BYTES
from openbsp.kafka.connection import RegistrySettings
from openbsp.kafka.registry import Registry
from openbsp.local.ports import free_ports
from simulation.contracts import CoordinatorContract, LogContract, RefusalContract, RegistryContract, owned
from streams.engine.app import App
from streams.engine.faust_internals import thread_of
from streams.engine.outside import Clients
from streams.engine.settings import EngineSettings
from streams.engine.source import assign, read, reader
from support.join_proxy import Proxy
from support.wait import SESSION_S, eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def topic_names() -> list[str]:
    return ["conversations"]


class RealBench:
    def __init__(self, contract: Any) -> None:
        self.topic = contract.topic("conversations")
        self.partitions = contract.topics.partitions
        self._connection = contract.kafka.librdkafka()

    def producer(self, **config: Any) -> Producer:
        return Producer(
            {
                **self._connection,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "log_level": 0,
                **config,
            }
        )

    def consumer(self, **config: Any) -> Consumer:
        return Consumer(
            {
                **self._connection,
                "group.id": "contract",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "log_level": 0,
                **config,
            }
        )

    def admin(self) -> AdminClient:
        return AdminClient(self._connection)

    def delete(self, partition: int, before: int) -> None:
        admin = self.admin()  # Trap: without a name it is gone before it can answer.
        (deleted,) = admin.delete_records([TopicPartition(self.topic, partition, before)]).values()
        assert deleted.result(10).low_watermark == before

    def cut_off(self, **config: Any) -> Producer:
        return self.producer(**{"bootstrap.servers": f"127.0.0.1:{free_ports(1)[0]}", **config})

    def until(self, condition: Callable[[], object]) -> None:
        eventually(condition, within=30)


class TestLog(LogContract):
    @pytest.fixture
    def bench(self, contract: Any) -> RealBench:
        bench = RealBench(contract)
        # A topic that has just been made has no leaders for a moment.
        eventually(lambda: _led(bench))
        return bench

    def test_partitions_of_a_backlog_are_read_at_one_pace_and_large_records_too(self, contract: Any, bench: RealBench):
        """Else a source is a whole answer of the broker ahead of the others, which is tens of thousands of records."""
        record_size, each = 2_000, 4_000
        producer = bench.producer(**{"message.max.bytes": MAX_MESSAGE_BYTES, "queue.buffering.max.messages": 100_000})
        large = bytes(MAX_MESSAGE_BYTES // 2)
        for number in range(each):
            for partition in range(bench.partitions):
                value = large if number == 2_000 and partition == 1 else bytes(record_size)
                producer.produce(bench.topic, value, partition=partition)
        producer.flush()
        consumer = reader(Clients(), contract.kafka.librdkafka(), "contract")
        try:
            assign(consumer, {(bench.topic, partition): 0 for partition in range(bench.partitions)})
            found = dict.fromkeys(range(bench.partitions), 0)
            ahead = 0
            while sum(found.values()) < bench.partitions * each:
                for record in read(consumer, 4_000, 30).records:
                    found[record.partition] += 1
                    ahead = max(ahead, max(found.values()) - min(found.values()))
        finally:
            consumer.close()
        print(f"figure: one partition was {ahead} records of {record_size} bytes ahead of another, of {each}")
        assert ahead < each / 2


class HeldUpBench(RealBench):
    def __init__(self, contract: Any, slow: Proxy) -> None:
        super().__init__(contract)
        self._slow = slow

    def producer(self, **config: Any) -> Producer:
        made = super().producer(**{"bootstrap.servers": f"127.0.0.1:{self._slow.port}", **config})
        self.hold()
        return made

    def hold(self) -> None:
        self._slow.hold()

    @property
    def held(self) -> int:
        return self._slow.held

    def release(self, refused: bytes) -> None:
        self._slow.release(damaged=refused)


class TestRefusal(RefusalContract):
    @pytest.fixture
    def held_up(self, here: Any, network: Any) -> HeldUpBench:
        _, slow = network
        bench = HeldUpBench(here, slow)
        eventually(lambda: _led(bench))
        return bench


class RealMember:
    """A Faust app in a thread of its own, whose engine only notes what it hears."""

    def __init__(self, contract: Any, topic: str, url: str, name: str | None) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.last_words: dict[Any, int] = {}
        self.answered: list[str | None] = []
        self._topic = topic
        self._name = name
        self._settings = EngineSettings(
            app_id=f"{contract.prefix}group",
            kafka=contract.kafka,
            url=url,
            partitions=contract.topics.partitions,
            session_timeout_s=SESSION_S,
        )
        self.started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._leaving = asyncio.Event()
        self.app = app = App(self._settings, consumer_group_instance_id=self._name)
        app._engine = self

        async def nothing(stream: Any) -> None:
            async for _ in stream.take_events(1):
                raise AssertionError("nothing is read")

        app.agent(app.topic(self._topic, value_type=bytes, value_serializer="raw"), name="nothing")(nothing)
        async with faust_app_running(app):
            self.started.set()
            await self._leaving.wait()

    def on_owned(self, partitions: frozenset[int], generation: int, _: frozenset[int]) -> None:
        self._hear(("owned", partitions, generation))

    async def on_lost(self) -> None:
        if self.heard and self.heard[-1] != ("lost",):
            self._hear(("lost",))

    def fail(self, error: BaseException) -> None:
        self._hear(("failed", error))
        self._saying = asyncio.ensure_future(self.app.commit_positions(self.last_words, {}, 5))
        self._saying.add_done_callback(lambda said: self.answered.append(said.result()))

    def _hear(self, what: tuple[Any, ...]) -> None:
        # A process that has failed has ended; this one goes on, loses its partitions and joins again.
        if not any(one[0] == "failed" for one in self.heard):
            self.heard.append(what)

    async def look_at_logs(self) -> None:
        """There is nothing to look at."""

    def commit(self, positions: dict[Any, int], notes: dict[Any, str], within: float = 5) -> str | None:
        return self.done(self.app.commit_positions(positions, notes, within))

    def committed(self, partitions: list[Any]) -> dict[Any, tuple[int, str]]:
        return {at: tuple(left) for at, left in self.done(self.app.committed(partitions)).items()}

    def owners(self) -> dict[int, str]:
        return self.app.owners(self._topic)

    async def echo(self, said: str) -> str:
        return said

    def freeze(self) -> None:
        # Only what keeps the membership alive: the group cannot tell the difference.
        thread_of(self.app).thread_loop.call_soon_threadsafe(time.sleep, SESSION_S * 2)

    def leave(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._leaving.set)
            self._thread.join(60)
        assert not self._thread.is_alive()

    def done(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)


class RealGroup:
    def __init__(self, contract: Any) -> None:
        self.topic = contract.topic("conversations")
        self.partitions = contract.topics.partitions
        self.members: list[RealMember] = []
        self._contract = contract

    def join(self, url: str, name: str | None = None) -> RealMember:
        member = RealMember(self._contract, self.topic, url, name)
        self.members.append(member)  # first: one that does not start has to leave as well
        assert member.started.wait(60)
        return member

    def until(self, condition: Callable[[], object]) -> None:
        eventually(condition, within=90)


class TestCoordinator(CoordinatorContract):
    @pytest.fixture
    def group(self, contract: Any) -> Iterator[RealGroup]:
        made = RealGroup(contract)
        # Trap: one that stays has connections, which are found open in some later test of this process.
        with contextlib.ExitStack() as leaving:
            leaving.callback(lambda: [leaving.callback(member.leave) for member in made.members])
            yield made
        # Trap: a process that the group has put out closes its connections by its end. These members have none, and a
        # connection of theirs that the collector finds later fails whichever test it is run in.
        made.members.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    def test_a_missing_topic_is_told_at_once_and_asked_for_seldom(
        self, group: RealGroup, contract: Any, caplog: pytest.LogCaptureFixture
    ):
        """By aiokafka itself it would be forty lines a second and commit, and a thousand questions a second."""
        member = group.join("http://one:1")
        numbers = owned(group, member)
        admin = AdminClient({**contract.kafka.librdkafka(), "log_level": 0})
        admin.delete_topics([group.topic])[group.topic].result(10)
        eventually(lambda: group.topic not in admin.list_topics(timeout=10).topics)
        caplog.clear()
        began = time.monotonic()
        problem = member.commit(dict.fromkeys([(group.topic, number) for number in numbers], 7), {})
        assert problem is not None
        # The group may have noticed it by then, and have taken the partitions away.
        assert problem.startswith(("UnknownTopicOrPartitionError", "IllegalStateError"))
        group.until(lambda: member.heard[-1][:2] == ("owned", frozenset()))
        lines = [record for record in caplog.records if record.name.startswith("aiokafka")]
        print(f"figure: {len(lines)} lines of aiokafka in {time.monotonic() - began:.1f} s without the topic")
        assert len(lines) < 50

    def test_calls_that_were_given_up_keep_no_later_one_waiting(self, group: RealGroup, monkeypatch: Any):
        member = group.join("http://one:1")
        here = group.topic, min(owned(group, member))
        back, known = threading.Event(), GroupCoordinator.ensure_coordinator_known

        async def away(coordinator: GroupCoordinator) -> None:
            while not back.is_set():  # noqa: ASYNC110 another thread sets it
                await asyncio.sleep(0.01)
            await known(coordinator)

        monkeypatch.setattr(GroupCoordinator, "ensure_coordinator_known", away)
        for _ in range(3):
            assert member.commit({here: 7}, {}, within=0.1) == "the coordinator has not answered within 0.1 s"
        assert member.done(thread_of(member.app).ask(5, member.echo, "still there")) == "still there"
        back.set()
        assert member.commit({here: 8}, {}) is None
        assert member.committed([here]) == {here: (8, "")}


class TestRegistry(RegistryContract):
    @pytest.fixture
    def registry(self, contract: Any) -> Iterator[Registry]:
        with Registry(contract.registry, contract.prefix) as registry:
            yield registry

    @pytest.fixture
    def absent(self) -> Iterator[Registry]:
        settings = RegistrySettings(url=f"http://127.0.0.1:{free_ports(1)[0]}")
        with Registry(settings, "absent.") as registry:
            yield registry


def _led(bench: RealBench) -> bool:
    consumer = bench.consumer()
    try:
        for partition in range(bench.partitions):
            consumer.get_watermark_offsets(TopicPartition(bench.topic, partition), timeout=5)
    except KafkaException:
        return False
    finally:
        consumer.close()
    return True
