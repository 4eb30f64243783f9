"""The views on tables in memory: the real join and the real views, with a Kafka that does as it is told."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import httpx
from aiokafka.partitioner import murmur2

from avro.catalogue import TOPICS
from avro.codec import encoder
from avro.columns import ENTITIES
from avro.rows import to_fields
from openbsp.kafka.connection import KafkaSettings, TopicSettings
from streams.engine.source import Record
from streams.settings import StreamsSettings
from streams.views.http.completeness import Audits
from streams.views.service import ViewsService
from support.join import IDS, Join, empty_stores, program
from support.wire import headers_of

ALL = "token-for-everything"
ACME = "token-of-acme-only-1"
TOKENS = f"all={ALL},acme={ACME}@acme"
PREFIX = "openbsp."
URL = "http://127.0.0.1:1"

#: When the bridge received everything: 2026-05-07T00:00:00Z, after all that the events tell.
RECEIVED_AT = 1_778_112_000_000_000

Offsets = dict[tuple[str, int], int]


class Writer:
    """Takes records; they are acknowledged when the world says so."""

    waited_s = 0.0

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.ends: Offsets = defaultdict(int)
        self.waiting: list[tuple[str, int, int, bytes | None, bytes | None]] = []
        self.checkpoints: list[tuple[int, Offsets, int | None]] = []
        self.acknowledged: Offsets = {}
        self.count = 0
        #: Set while everything is acknowledged at once, because the join waits for it.
        self.prompt: Callable[[], None] | None = None

    def write(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int = -1, headers: Any = None
    ) -> None:
        del headers
        if partition < 0:
            partition = (murmur2(key or b"") & 0x7FFFFFFF) % self.partitions
        self.waiting.append((topic, partition, self.ends[topic, partition], key, value))
        self.ends[topic, partition] += 1
        self.count += 1

    def checkpoint(self, positions: Offsets, received_at: int | None = None) -> None:
        self.checkpoints.append((self.count, dict(positions), received_at))

    def poll(self) -> None:
        if self.prompt is not None:
            self.prompt()

    @property
    def outstanding(self) -> int:
        return len(self.waiting)

    @property
    def idle(self) -> bool:
        return not self.waiting


class Worker:
    """What the views ask of a worker."""

    def __init__(self, settings: StreamsSettings, writer: Writer, partitions: int) -> None:
        self.settings = settings
        self.holds_lease = True
        self.others: dict[int, str] = {}
        self.commit_age_s = 0.0
        self.identities: dict[str, int] = {}
        self.late: frozenset[int] = frozenset()
        self.stores_compacted_at: int | None = None
        self.unacknowledged = 0
        self.failures: list[BaseException] = []
        #: Notes what makes the worker unable to go on.
        self.fail = self.failures.append
        self._writer = writer
        self._partitions = partitions

    def owners(self, _: str) -> dict[int, str]:
        return dict.fromkeys(range(self._partitions), self.settings.url) | self.others

    def identity(self, topic: str) -> int | None:
        return self.identities.get(topic)

    def settled(self, topic: str, partition: int) -> int:
        return self._writer.acknowledged.get((topic, partition), 0)


class World:
    """One worker with all partitions. Made within a running event loop.

    Its reads wait for no partition unless `read_wait_s` says so.
    """

    def __init__(self, partitions: int = 4, **settings: Any) -> None:
        self.partitions = partitions
        self.settings = StreamsSettings(**{"tokens": TOKENS, "advertised_url": URL, "read_wait_s": 0, **settings})
        topics = TopicSettings(prefix=PREFIX, partitions=partitions)
        self.views = ViewsService(self.settings, KafkaSettings(bootstrap_servers="127.0.0.1:1"), topics)
        #: What the topic of audits has; or an exception that reading it raises.
        self.audits: list[bytes] | Exception = []
        self.views._pipeline._audits = Audits(self._read_audits)
        self.tables = self.views.tables
        self.writer = Writer(partitions)
        self.worker = Worker(self.settings, self.writer, partitions)
        self.app = program(PREFIX)
        self.views.listen(self.app)
        self.contract = self.app.contract
        self._encode = {
            entity.name: encoder(str(TOPICS[entity.topic].schema), IDS[str(TOPICS[entity.topic].schema)])
            for entity in ENTITIES.values()
        }
        self._stores: dict[tuple[str, int], Any] = {}
        self.positions: Offsets = defaultdict(int)
        self._records: list[Record] = []
        self.tables.attach(self.worker)

    def _read_audits(self) -> list[bytes]:
        if isinstance(self.audits, Exception):
            raise self.audits
        return self.audits

    def own(self, owned: Iterable[int] | None = None) -> None:
        """Take partitions over, all of them if none are named; nothing is behind."""
        numbers = range(self.partitions) if owned is None else list(owned)
        self._stores = empty_stores(numbers) | self._stores
        positions = {
            (topic, number): self.positions[topic, number] for topic in self.contract.names for number in numbers
        }
        stores = {at: store for at, store in self._stores.items() if at[1] in numbers}
        self.join = Join(self.app, self.writer, stores, positions=positions, ends=positions)
        states = self.tables.states_topic
        self.app.hooks.began(self.join.work, {(states, n): self.writer.ends[states, n] for n in numbers})

    def hand_around(self) -> None:
        """Lose the partitions to a worker that writes to their changelogs before it loses them too."""
        self.tables.lost()
        for store in self._stores.values():
            store.generation += 1

    async def own_and_index(self) -> None:
        """Take all partitions over, and return when they are indexed."""
        self.own()
        await self.tables._indexing

    def post(self, *envelopes: dict[str, Any]) -> None:
        """Have the bridge write events; they are not joined yet."""
        for envelope in envelopes:
            entity = envelope["entity"]
            topic = self.contract.topic(ENTITIES[entity].topic)
            fields = to_fields(ENTITIES[entity], envelope["data"])
            value = self._encode[entity](
                {"event_id": "e", "action": envelope["action"], "received_at": RECEIVED_AT, **fields}
            )
            self._arrive(topic, fields["id"].encode(), value, headers_of(envelope))

    def delete(self, entity: str, key: str) -> None:
        """Write a tombstone."""
        self._arrive(self.contract.topic(entity), key.encode(), None)

    async def join_all(self) -> None:
        """Apply what has arrived, without writing what follows from it for conversations."""
        while self._records:
            records, self._records = self._records, []
            # Before it forgets a message, the join waits until everybody has been told.
            self.writer.prompt = self.acknowledge if any(record.value is None for record in records) else None
            await self.join.process(records)
            self.writer.prompt = None
            self._publish()

    def flush(self) -> None:
        """Write what has changed; it is not acknowledged yet."""
        self.join.flush()

    def acknowledge(self, most: int | None = None) -> None:
        """Acknowledge records, the oldest first."""
        waiting, self.writer.waiting = self.writer.waiting, []
        most = len(waiting) if most is None else most
        self.writer.waiting = waiting[most:]
        for topic, partition, offset, key, value in waiting[:most]:
            self.app.hooks.acknowledged(topic, partition, offset)
            if topic == self.tables.contributions_topic and value is not None:
                self._records.append(Record(topic, partition, offset, key, value))
        done = self.writer.count - len(self.writer.waiting)
        for checkpoint in list(self.writer.checkpoints):
            count, positions, received_at = checkpoint
            if count <= done:
                self.writer.checkpoints.remove(checkpoint)
                self.writer.acknowledged |= positions
                self.app.hooks.settled(received_at)
        self.app.hooks.advanced()

    async def settle(self) -> None:
        """Do all that there is to do."""
        while True:
            await self.join_all()
            self.flush()
            self.acknowledge()
            if not self._records and not self.join.changed:
                return

    def client(self, token: str = ALL) -> httpx.AsyncClient:
        """Return a client of the views."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.views.app, raise_app_exceptions=False),
            base_url=URL,
            headers={"Authorization": f"Bearer {token}"},
            verify=False,
        )

    def _publish(self) -> None:
        """Deliver contributions at once, and leave everything else to wait."""
        topic = self.tables.contributions_topic
        for record in [record for record in self.writer.waiting if record[0] == topic]:
            self.writer.waiting.remove(record)
            _, partition, offset, key, value = record
            self._records.append(Record(topic, partition, offset, key, value))

    def _arrive(self, topic: str, key: bytes, value: bytes | None, headers: Any = None) -> None:
        partition = partition_of(key.decode(), self.partitions)
        offset = self.positions[topic, partition]
        self.positions[topic, partition] += 1
        self._records.append(Record(topic, partition, offset, key, value, headers))


def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a key."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def conversation(key: str, organization: str | None = "acme", **columns: Any) -> dict[str, Any]:
    """Return the event of a conversation's row."""
    row = {"id": key, "organization_id": organization, "service": "whatsapp", "status": "open", **columns}
    return {"entity": "conversations", "action": "insert", "data": {k: v for k, v in row.items() if v is not None}}


def message(key: str, conversation_id: str, organization: str | None = "acme", **columns: Any) -> dict[str, Any]:
    """Return the event of a message's row."""
    row = {
        "id": key,
        "conversation_id": conversation_id,
        "organization_id": organization,
        "direction": "incoming",
        "content": {"type": "text", "kind": "text", "text": f"text of {key}"},
        "timestamp": instant(0),
        "status": {"pending": instant(0)},
        **columns,
    }
    return {"entity": "messages", "action": "insert", "data": {k: v for k, v in row.items() if v is not None}}


def instant(second: int) -> str:
    """Return an instant, later for a larger number."""
    return f"2026-05-06T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"
