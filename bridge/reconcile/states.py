"""The state topics and the tables of contacts, read into the index up to their ends."""

import time
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from avro.catalogue import TOPICS, topic_name
from avro.codec import CodecError
from avro.columns import ENTITIES
from bridge.contact_tables import TABLES
from bridge.reconcile import comparison, counterparts, names
from bridge.reconcile.counterparts import COUNTERPARTS
from bridge.reconcile.errors import ReconcileError
from bridge.reconcile.index import Index, State
from openbsp.kafka import clients, ends
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.kafka.findings import NO_ID
from openbsp.kafka.reading import GROUP, ValueReader, patiently
from openbsp.kafka.registry import Registry
from openbsp.kafka.topics import Topics

_TIMEOUT_S = 15.0
_PATIENCE_S = 60.0
_POLL_S = 0.2
_BATCH = 2_000
#: Tombstones are removed a day after a topic was compacted: an index that is older than half of that is rebuilt.
_STALE_S = 12 * 60 * 60.0

#: Called with the number of records read, and the total.
OnRead = Callable[[int, int], None]


def state_of(entity: str, id_: str, fields: Mapping[str, Any]) -> State:
    """Return the state of a row that has arrived, or that at least others refer to.

    A message in no conversation is known from receipts alone: only partial updates do not name it.
    """
    conversation, organization = fields.get("conversation_id"), fields.get("organization_id")
    if not fields.get("known", True):
        # Only messages of the conversation have been seen: its row is missing.
        return State(id_, organization=organization, orphan=True, address=_address_in(fields))
    return State(
        id_,
        comparison.of_fields(ENTITIES[entity], fields),
        organization,
        conversation,
        orphan=entity == "messages" and conversation is None,
        address=_address_in(fields) if entity == "conversations" else None,
    )


def _address_in(fields: Mapping[str, Any]) -> str | None:
    """Return what the row of a conversation's contact address is asked for by."""
    return names.name_of(names.ADDRESSES, {**fields, "address": fields.get("contact_address")})


class States:
    """Updates the index from the state topics. A context manager. Raises ReconcileError, RegistryError."""

    def __init__(
        self,
        kafka: KafkaSettings,
        registry: RegistrySettings,
        topics: TopicSettings,
        index: Index,
        entities: Collection[str] = tuple(COUNTERPARTS),
    ) -> None:
        """Build the clients; nothing is read yet. `entities` are the compared ones."""
        self._index = index
        self._registry = Registry(registry, topics.prefix)
        self._topics = Topics(kafka, topics)
        self._names = {entity: topic_name(topics.prefix, COUNTERPARTS[entity]) for entity in entities}
        self._entities = {topic: entity for entity, topic in self._names.items()}
        self._values = {
            entity: ValueReader(record, self._registry)
            for entity in entities
            if (record := TOPICS[COUNTERPARTS[entity]].schema) is not None
        }
        config = clients.reader_config(kafka.librdkafka(), GROUP)
        try:
            self._consumer = Consumer(config, logger=clients.LIBRDKAFKA)
            self._admin = AdminClient({**kafka.librdkafka(), "log_level": 0})
        except KafkaException as error:
            raise ReconcileError(f"the KAFKA_ settings cannot be used: {error.args[0].str()}") from None
        self._next: dict[tuple[str, int], int] = {}
        #: Why entities are not compared: their table may not be read, or does not exist.
        self.unreadable: dict[str, str] = {}
        #: The topics of entities that are not those of former runs, or lack what these have read.
        self.replaced: dict[str, str] = {}
        self._is_read = False

    def __enter__(self) -> Self:
        """Find the topics, and drop the index's data of former ones, with how far runs came with them."""
        identities = self._topics.inspect().identities
        try:
            for entity in self._names:
                try:
                    self._begin(entity, identities)
                except ReconcileError as error:
                    self._give_up(entity, error)
            self._assign()
        except KafkaException as error:
            raise ReconcileError(f"the state topics cannot be read: {error.args[0].str()}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._consumer.close()
        self._registry.close()

    def _assign(self) -> None:
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in self._next.items()])

    def _begin(self, entity: str, identities: Mapping[str, str]) -> None:
        identity = identities.get(COUNTERPARTS[entity])
        if identity is None:
            raise ReconcileError(f"{self._names[entity]}: missing; run `bridge topics apply`")
        topic = self._names[entity]
        partitions = self._consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic].partitions
        bounds = {partition: self._bounds(topic, partition) for partition in partitions}
        known = self._index.positions(entity)
        read_at = float(self._index.meta(f"read {entity}") or 0)
        noted = self._index.meta(f"topic {entity}")
        fits = all(
            partition in bounds and bounds[partition][0] <= at <= bounds[partition][1]
            for partition, at in known.items()
        )
        # Trap: brokers that are upgraded give a topic its first id.
        if not fits or (noted != identity and noted is not None and NO_ID not in {noted, identity}):
            # First, as the rest can be done again.
            self._index.restart(entity)
            self.replaced[entity] = topic
        if noted != identity or not fits or known.keys() != bounds.keys() or time.time() - read_at > _STALE_S:
            self._index.forget(entity)
            self._index.note(f"topic {entity}", identity)
            known = {partition: low for partition, (low, _) in bounds.items()}
        self._next |= {(topic, partition): known[partition] for partition in bounds}

    def catch_up(self, on_read: OnRead | None = None) -> None:
        """Read all current records of the topics."""
        began = time.time()
        until = self._ends()
        total = sum(max(0, end - self._next[place]) for place, end in until.items())
        read = 0
        patient_until = time.monotonic() + _PATIENCE_S
        while any(self._next.get(place, end) < end for place, end in until.items()):
            messages = self._consumer.consume(_BATCH, _POLL_S)
            if self._take(messages):
                patient_until = time.monotonic() + _PATIENCE_S
            elif time.monotonic() > patient_until:
                raise ReconcileError(f"the state topics were not delivered within {_PATIENCE_S:g} s")
            read += len(messages)
            if on_read is not None:
                on_read(min(read, total), total)
        for entity in self._names.keys() - self.unreadable:
            self._index.note(f"read {entity}", str(began))
        self._is_read = True

    def _give_up(self, entity: str, error: ReconcileError) -> None:
        """Go on without the table of an entity: readers of the states need not have access to the workers' tables."""
        # Trap: once rows have been compared, one without a state would count as missing.
        if entity not in TABLES or self._is_read:
            raise error
        self.unreadable[entity] = str(error)
        self._index.forget(entity)
        self._next = {place: at for place, at in self._next.items() if place[0] != self._names[entity]}

    def _ends(self) -> dict[tuple[str, int], int]:
        try:
            return ends.wait_for(self._admin, self._next, _TIMEOUT_S)
        except KafkaException as error:
            raise ReconcileError(f"where the state topics end: no broker answered: {error.args[0].str()}") from None

    def _bounds(self, topic: str, partition: int) -> tuple[int, int]:
        try:
            place = TopicPartition(topic, partition)
            low, high = patiently(_TIMEOUT_S, self._consumer.get_watermark_offsets, place, _TIMEOUT_S)
        except KafkaException as error:
            raise ReconcileError(f"{topic}[{partition}]: no broker answered: {error.args[0].str()}") from None
        return low, high

    def _take(self, messages: list[Message]) -> bool:
        """Store records in the index. Returns whether any partition advanced."""
        states: dict[str, list[State]] = {entity: [] for entity in self._names}
        positions: dict[str, dict[int, int]] = {entity: {} for entity in self._names}
        left_out = len(self.unreadable)
        for message in messages:
            entity, partition, after = self._place(message)
            if entity is None or entity in self.unreadable:
                continue
            positions[entity][partition] = after
            if message.error() is None and (state := self._state(entity, message)) is not None:
                states[entity].append(state)
        moved = False
        for entity, places in positions.items():
            if places and entity not in self.unreadable:
                self._index.take(entity, states[entity], places)
                self._next |= {(self._names[entity], partition): after for partition, after in places.items()}
                moved = True
        if len(self.unreadable) > left_out:
            self._assign()
        return moved

    def _place(self, message: Message) -> tuple[str | None, int, int]:
        """Return the entity and partition that reached an offset; no entity if none did."""
        error = message.error()
        topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
        if error is None:
            return self._entities.get(topic), partition, offset + 1
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 its public name in confluent-kafka
            return self._entities.get(topic), partition, offset
        if error.fatal() or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            refused = ReconcileError(f"{topic or 'the state topics'} cannot be read: {error.str()}")
            if error.fatal() or topic not in self._entities:
                raise refused
            self._give_up(self._entities[topic], refused)
        return None, 0, 0

    def _state(self, entity: str, message: Message) -> State | None:
        key, value = message.key(), message.value()
        if not key:
            return None
        id_ = key.decode(errors="replace")
        if value is None:
            return State(id_)
        if entity in TABLES:
            try:
                return counterparts.state_of(entity, id_, value)
            except ReconcileError as error:
                self._give_up(entity, error)
                return None
        try:
            fields = self._values[entity].decode(value)
        except CodecError as error:
            raise ReconcileError(f"{self._names[entity]}: the state of {id_} cannot be read: {error}") from None
        return state_of(entity, id_, fields)
