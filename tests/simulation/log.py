"""A simulated cluster: topics with partitions, and clients with the methods of confluent-kafka that the engine uses.

Nothing here blocks. What a real call would have waited is owed (`Network.owed_s`); whoever runs the call waits for it
afterwards on the simulated clock. When a record reaches its log, and when its producer hears of it, a seed decides.
"""

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple

from aiokafka.partitioner import murmur2
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from simulation.loop import OUTSIDE, Process, SimulatedLoop, current_process

At = tuple[str, int]

#: Batches of a producer that may be on their way to a partition at a time.
_IN_FLIGHT = 5


class Record(NamedTuple):
    """A record in its log. `writer`: the process that wrote it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Any
    writer: str


class Log:
    """One partition of a topic."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.start = self.end = 0
        #: Another number whenever another broker leads.
        self.leader = 0
        #: Nobody answers for it until then.
        self.away_until = 0.0
        #: All of it is deleted as soon as somebody has read a part of it.
        self.doomed = False

    def append(self, key: bytes | None, value: bytes | None, headers: Any = None, writer: str = "") -> int:
        """Add a record, and return its offset."""
        offset = self.end
        self.records.append(Record(offset, key, value, headers, writer))
        self.end += 1
        return offset

    def since(self, offset: int, limit: int) -> list[Record]:
        """Return at most so many of the records that are left from an offset on."""
        index = bisect_left(self.records, offset, key=lambda record: record.offset)
        return self.records[index : index + limit]

    def delete(self, before: int) -> None:
        """Delete all records before an offset, as DeleteRecords does."""
        self.start = max(self.start, min(before, self.end))
        self.records = [one for one in self.records if one.offset >= self.start]

    def compact(self, before: int) -> None:
        """Keep of what is before an offset only the last record of each key in the whole log."""
        last = {record.key: record.offset for record in self.records}
        self.records = [one for one in self.records if one.offset >= before or last[one.key] == one.offset]

    def forget_tombstones(self) -> None:
        """Remove the tombstones of a compacted log, as a broker does in the end."""
        self.records = [one for one in self.records if one.value is not None]

    def newest(self) -> dict[bytes | None, Record]:
        """Return the last record of each key."""
        return {record.key: record for record in self.records}


class Network:
    """What is between clients and brokers: how long things take, and what of them goes wrong."""

    def __init__(self, loop: SimulatedLoop, random: Random) -> None:
        self.loop = loop
        self.random = random
        #: Seconds that the calls since it was last set to 0 would have blocked.
        self.owed_s = 0.0
        #: How long a batch or an answer is on its way, at most.
        self.latency_s = 0.02
        #: How many records of a partition come at a time, at most.
        self.fetch_records = 1_000
        #: How probably a read tells of an error that librdkafka mends by itself.
        self.hiccups = 0.0
        #: How probably the queue of a producer is full for a moment.
        self.congestion = 0.0
        #: How probably a consumer hears of an end before the end: of a broker that has just begun to lead.
        self.early_ends = 0.0
        #: How probably a batch is refused of a producer that has written nothing to its partition yet.
        self.refusals = 0.0

    def delay(self) -> float:
        """Return how long something is on its way."""
        random = self.random
        return random.random() * self.latency_s * (10 if random.random() < 0.02 else 1)


class Cluster:
    """The brokers, and constructors of their clients."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.topics: dict[str, list[Log]] = {}
        self.producers: list[SimulatedProducer] = []
        #: Called for each record that is appended, with its topic and partition.
        self.appended: Callable[[str, int, Record], None] = lambda *_: None
        #: Called when a producer's first batch in a partition comes, and more is behind it: topic, partition, writer.
        self.crowded: Callable[[str, int, str], None] = lambda *_: None

    def create(self, topic: str, partitions: int) -> None:
        """Make a topic."""
        self.topics[topic] = [Log() for _ in range(partitions)]

    def log(self, topic: str, partition: int) -> Log:
        """Return a partition. Raises KafkaException if there is none."""
        logs = self.topics.get(topic)
        if logs is None or not 0 <= partition < len(logs):
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        return logs[partition]

    def producer(self, config: Mapping[str, Any]) -> "SimulatedProducer":
        """See confluent_kafka.Producer; it belongs to the process that runs now."""
        made = SimulatedProducer(self, config, current_process())
        self.producers.append(made)
        return made

    def consumer(self, config: Mapping[str, Any]) -> "SimulatedConsumer":
        """See confluent_kafka.Consumer."""
        return SimulatedConsumer(self, config)

    def admin(self, config: Mapping[str, Any]) -> "SimulatedAdmin":
        """See confluent_kafka.admin.AdminClient."""
        del config
        return SimulatedAdmin(self)

    def away(self, at: At, seconds: float) -> None:
        """Let a partition be without a leader for so long, and then have another one."""
        log = self.log(*at)
        log.leader += 1
        log.away_until = max(log.away_until, self.network.loop.now + seconds)

    def is_away(self, at: At) -> bool:
        """Return whether nobody leads a partition."""
        return self.log(*at).away_until > self.network.loop.now


class SimulatedMessage:
    """See confluent_kafka.Message."""

    __slots__ = ("_at", "_error", "_headers", "_key", "_offset", "_value")

    def __init__(  # noqa: PLR0917 all that a message has
        self, at: At, offset: int, key: Any, value: Any, headers: Any, error: KafkaError | None
    ) -> None:
        self._at, self._offset = at, offset
        self._key, self._value, self._headers, self._error = key, value, headers, error

    def topic(self) -> str:
        return self._at[0]

    def partition(self) -> int:
        return self._at[1]

    def offset(self) -> int | None:
        return self._offset if self._offset >= 0 else None

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Any:
        return self._headers

    def error(self) -> KafkaError | None:
        return self._error


class _Sent:
    """A record on its way."""

    __slots__ = ("callback", "deadline", "headers", "key", "reported", "value")

    def __init__(self, key: Any, value: Any, headers: Any, callback: Any, deadline: float) -> None:
        self.key, self.value, self.headers = key, value, headers
        self.callback, self.deadline = callback, deadline
        self.reported = False


class _Way:
    """The way of one producer's records to one partition: batches arrive, and are acknowledged, in their order."""

    __slots__ = ("acknowledged", "acknowledged_at", "arrives_at", "flying", "queue", "refused", "sending", "used")

    def __init__(self) -> None:
        self.queue: deque[_Sent] = deque()
        self.sending = False
        self.flying: deque[list[_Sent]] = deque()
        self.acknowledged: deque[list[tuple[_Sent, int]]] = deque()
        #: Whether anything has been written on it; and what was refused before.
        self.used = False
        self.refused: list[_Sent] = []
        self.arrives_at = self.acknowledged_at = 0.0


class SimulatedProducer:
    """An idempotent producer: in order within a partition, once each, and reported when polled."""

    def __init__(self, cluster: Cluster, config: Mapping[str, Any], process: Process | None) -> None:
        self._cluster = cluster
        self._network = cluster.network
        self._loop = cluster.network.loop
        self.process = process
        self.writer = "outside" if process is None else process.name
        self._largest = int(config.get("message.max.bytes", 1_000_000))
        self._room = int(config.get("queue.buffering.max.messages", 100_000))
        self._patience_s = int(config.get("message.timeout.ms", 300_000)) / 1000
        self._linger_s = float(config.get("linger.ms", 5)) / 1000
        self._ways: dict[At, _Way] = defaultdict(_Way)
        self._reports: deque[tuple[_Sent, At, int, KafkaError | None]] = deque()
        self._waiting = 0
        self._watching = False
        self._held: list[tuple[At, _Way]] | None = None
        #: Reaches no broker.
        self.unplugged = False
        if process is not None:
            process.killed.append(self.die)
            process.resumed.append(self._wake)

    def __len__(self) -> int:
        return self._waiting

    def produce(  # noqa: PLR0917 confluent-kafka's signature
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int = -1,
        callback: Any = None,
        on_delivery: Any = None,
        timestamp: int = 0,
        headers: Any = None,
    ) -> None:
        """Take a record. Raises BufferError when there is no room, KafkaException for what can never be sent."""
        del timestamp
        if self.process is not None:
            self.process.wrote(tombstone=value is None)
        if len(value or b"") + len(key or b"") > self._largest:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        network = self._network
        if self._waiting >= self._room or (network.congestion and network.random.random() < network.congestion):
            raise BufferError("Local: Queue full")
        count = len(self._cluster.topics.get(topic, ()))
        if partition < 0:
            partition = partition_of(key, count) if key is not None else network.random.randrange(count)
        at = topic, partition
        self._cluster.log(topic, partition)
        way = self._ways[at]
        way.queue.append(_Sent(key, value, headers, callback or on_delivery, self._loop.now + self._patience_s))
        self._waiting += 1
        if not way.sending:
            way.sending = True
            self._loop.outside(self._linger_s + network.delay(), self._send, at, way)
        if not self._watching:
            self._watching = True
            self._loop.outside(self._patience_s / 4, self._expire)

    def poll(self, timeout: float = 0.0) -> int:
        """Tell what has become of records since the last call."""
        if not self._reports:
            self._network.owed_s += timeout
            return 0
        count = 0
        while self._reports:
            sent, at, offset, error = self._reports.popleft()
            if sent.reported:
                continue
            sent.reported = True
            self._waiting -= 1
            count += 1
            if sent.callback is not None:
                sent.callback(error, SimulatedMessage(at, offset, sent.key, sent.value, sent.headers, error))
        return count

    def purge(self, in_queue: bool = True, in_flight: bool = True, blocking: bool = True) -> None:  # noqa: FBT001, FBT002
        """Give up what is not acknowledged; what is on its way may arrive all the same."""
        del blocking
        for at, way in self._ways.items():
            while in_queue and way.queue:
                self._report(way.queue.popleft(), at, -1001, KafkaError(KafkaError._PURGE_QUEUE))
            if in_flight:
                for sent in [*way.refused, *(sent for batch in way.flying for sent in batch)]:
                    self._report(sent, at, -1001, KafkaError(KafkaError._PURGE_INFLIGHT))
                for sent, _ in [pair for batch in way.acknowledged for pair in batch]:
                    self._report(sent, at, -1001, KafkaError(KafkaError._PURGE_INFLIGHT))

    def hold(self) -> None:
        """Keep on the way what this producer sends, until it is released."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """Let arrive what was held."""
        held, self._held = self._held or [], None
        for at, way in held:
            self._arrive(at, way)

    @property
    def holds(self) -> int:
        """How many batches are held."""
        return len(self._held or ())

    def _send(self, at: At, way: _Way) -> None:
        process = self.process
        if self.unplugged or (process is not None and (process.paused or not process.alive)):
            way.sending = False
            return
        if len(way.flying) + len(way.acknowledged) >= _IN_FLIGHT:
            self._loop.outside(self._network.delay(), self._send, at, way)
            return
        random = self._network.random
        size = len(way.queue) if random.random() < 0.7 else random.randint(1, max(1, len(way.queue)))
        batch = [way.queue.popleft() for _ in range(min(size, len(way.queue)))]
        way.sending = bool(way.queue)
        if way.sending:
            self._loop.outside(self._network.delay(), self._send, at, way)
        if batch:
            way.flying.append(batch)
            way.arrives_at = max(way.arrives_at, self._loop.now + self._network.delay())
            self._loop.call_at(way.arrives_at, self._arrive, at, way, context=OUTSIDE.copy())

    def _arrive(self, at: At, way: _Way) -> None:
        if self._held is not None:
            self._held.append((at, way))
            return
        log = self._cluster.log(*at)
        now = self._loop.now
        if log.away_until > now:
            self._loop.outside(log.away_until - now, self._arrive, at, way)
            return
        batch = way.flying.popleft()
        if way.flying and not way.used:
            self._cluster.crowded(*at, self.writer)
        network = self._network
        if network.refusals and way.flying and not way.used and network.random.random() < network.refusals:
            way.refused += batch
            return
        # What the next batch follows counts as written for librdkafka, and has no offset: docs/decisions/0245.
        appended = [(sent, -1001) for sent in way.refused]
        way.refused, way.used = [], True
        for sent in batch:
            appended.append((sent, log.append(sent.key, sent.value, sent.headers, self.writer)))
            self._cluster.appended(*at, log.records[-1])
        way.acknowledged.append(appended)
        way.acknowledged_at = max(way.acknowledged_at, now + self._network.delay())
        self._loop.call_at(way.acknowledged_at, self._acknowledge, at, way, context=OUTSIDE.copy())

    def _acknowledge(self, at: At, way: _Way) -> None:
        for sent, offset in way.acknowledged.popleft():
            self._report(sent, at, offset, None)

    def _report(self, sent: _Sent, at: At, offset: int, error: KafkaError | None) -> None:
        self._reports.append((sent, at, offset, error))

    def _expire(self) -> None:
        process = self.process
        if process is not None and not process.alive:
            return
        now = self._loop.now
        for at, way in self._ways.items():
            while way.queue and way.queue[0].deadline <= now:
                self._report(way.queue.popleft(), at, -1001, KafkaError(KafkaError._MSG_TIMED_OUT))
        self._watching = self._waiting > 0
        if self._watching:
            self._loop.outside(self._patience_s / 4, self._expire)

    def _wake(self) -> None:
        # Whether what has waited for too long is sent before anybody looks at the clock is a matter of luck.
        steps = [self._expire, self._send_all]
        self._network.random.shuffle(steps)
        for step in steps:
            step()

    def _send_all(self) -> None:
        for at, way in self._ways.items():
            if way.queue and not way.sending:
                way.sending = True
                self._send(at, way)

    def die(self) -> None:
        for way in self._ways.values():
            way.queue.clear()


class SimulatedConsumer:
    """A consumer that reads the partitions that it is told to, with an event for each end that it reaches."""

    def __init__(self, cluster: Cluster, config: Mapping[str, Any]) -> None:
        self._cluster = cluster
        self._network = cluster.network
        self._ends = bool(config.get("enable.partition.eof"))
        #: Whether a position that does not exist is an error. Else it is reset to the earliest one.
        self._strict = config.get("auto.offset.reset") == "error"
        self._positions: dict[At, int] = {}
        self._told: dict[At, int] = {}
        self._ready: deque[SimulatedMessage] = deque()
        self._closed = False

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Read these partitions, each from its offset."""
        self._check()
        self._ready.clear()
        self._told.clear()
        self._positions = {}
        for one in partitions:
            self._cluster.log(one.topic, one.partition)
            self._positions[one.topic, one.partition] = one.offset

    def unassign(self) -> None:
        """Read nothing."""
        self.assign([])

    def poll(self, timeout: float = -1) -> SimulatedMessage | None:
        """Return what comes next, None if nothing does within a time-out."""
        self._check()
        if not self._ready:
            self._fetch()
        if self._ready:
            return self._ready.popleft()
        self._network.owed_s += max(timeout, 0)
        return None

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[SimulatedMessage]:
        """Return at most so many of what comes next."""
        self._check()
        if not self._ready and timeout:
            self._fetch()
        return [self._ready.popleft() for _ in range(min(num_messages, len(self._ready)))]

    def get_watermark_offsets(
        self,
        partition: TopicPartition,
        timeout: float = -1,
        cached: bool = False,  # noqa: FBT001, FBT002
    ) -> tuple[int, int]:
        """Return the offsets of the first record and of the next one."""
        del cached
        self._check()
        log = self._cluster.log(partition.topic, partition.partition)
        if self._cluster.is_away((partition.topic, partition.partition)):
            left = log.away_until - self._network.loop.now
            if 0 <= timeout < left:
                self._network.owed_s += timeout
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            self._network.owed_s += left
        return log.start, log.end

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        """Ask for what there is."""
        self._check()
        return SimulatedAdmin(self._cluster).list_topics(topic, timeout)

    def close(self) -> None:
        """Read nothing more."""
        self._closed = True
        self._ready.clear()

    def _check(self) -> None:
        if self._closed:
            raise RuntimeError("Consumer closed")

    def _fetch(self) -> None:
        network, random = self._network, self._network.random
        if network.hiccups and random.random() < network.hiccups:
            code = random.choice([KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT])
            self._ready.append(SimulatedMessage(("", 0), -1001, None, None, None, KafkaError(code)))
            return
        order = list(self._positions)
        random.shuffle(order)
        for at in order:
            log = self._cluster.log(*at)
            position = self._positions[at]
            if log.away_until > self._network.loop.now:
                continue
            if not log.start <= position <= log.end:
                if self._strict:
                    del self._positions[at]
                    lost = KafkaError(KafkaError._AUTO_OFFSET_RESET)
                    self._ready.append(SimulatedMessage(at, position, None, None, None, lost))
                    continue
                position = self._positions[at] = log.start
            early = network.early_ends and self._told.get(at) != position and random.random() < network.early_ends
            if position < log.end and not early:
                limit = random.randint(1, network.fetch_records)
                found = log.since(position, limit)
                for record in found:
                    self._ready.append(
                        SimulatedMessage(at, record.offset, record.key, record.value, record.headers, None)
                    )
                # What compaction has left out at the end is no record, but it has an offset.
                position = found[-1].offset + 1 if len(found) == limit else log.end
                self._positions[at] = position
                if log.doomed and position < log.end:
                    log.doomed = False
                    log.delete(log.end)
            if self._ends and (early or position == log.end) and self._told.get(at) != position:
                self._told[at] = position
                end = KafkaError(KafkaError._PARTITION_EOF)
                self._ready.append(SimulatedMessage(at, position, None, None, None, end))


class SimulatedAdmin:
    """Tells where partitions end, as long as it knows who leads them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._leaders: dict[At, int] = {}

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        """Ask for what there is, and so for who leads it."""
        del timeout
        topics = self._cluster.topics
        for name in topics:
            for number, log in enumerate(topics[name]):
                self._leaders[name, number] = log.leader
        named = {topic} if topic is not None else set(topics)
        return SimpleNamespace(
            topics={name: SimpleNamespace(partitions=dict(enumerate(topics[name]))) for name in topics if name in named}
        )

    def list_offsets(self, asked: Mapping[TopicPartition, Any], **_: Any) -> dict[TopicPartition, Future[Any]]:
        """Return the end of each partition, or fail with NOT_LEADER_FOR_PARTITION if another broker leads by now."""
        return {one: self._end(one) for one in asked}

    def _end(self, one: TopicPartition) -> Future[Any]:
        answer: Future[Any] = Future()
        at = one.topic, one.partition
        network = self._cluster.network

        def settle() -> None:
            if answer.cancelled():
                return
            try:
                log = self._cluster.log(*at)
            except KafkaException as error:
                answer.set_exception(error)
                return
            if self._leaders.setdefault(at, log.leader) != log.leader or self._cluster.is_away(at):
                answer.set_exception(KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION)))
            else:
                answer.set_result(SimpleNamespace(offset=log.end))

        network.loop.outside(network.delay(), settle)
        return answer


_partitions: dict[tuple[bytes, int], int] = {}


def partition_of(key: bytes, count: int) -> int:
    """Return the partition of a key, as all clients agree on it."""
    known = _partitions.get((key, count))
    if known is None:
        known = _partitions[key, count] = (murmur2(key) & 0x7FFFFFFF) % count
    return known


def ends_of(cluster: Cluster, partitions: Iterable[At]) -> dict[At, int]:
    """Return the end of each partition."""
    return {at: cluster.log(*at).end for at in partitions}
