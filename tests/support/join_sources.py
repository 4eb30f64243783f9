"""Writes to the join's source topics what the bridge would write, and what nobody should."""

from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Producer

from avro import instants, writers
from avro.catalogue import MAX_MESSAGE_BYTES, TOPICS
from avro.codec import encoder
from avro.columns import ENTITIES
from avro.rows import id_of, to_fields
from openbsp.kafka.registry import Registry

Envelope = Mapping[str, Any]

_RECORDS = {entity.name: str(TOPICS[entity.topic].schema) for entity in ENTITIES.values()}


class Sources:
    """The source topics of a test's contract. Everything is acknowledged when a method returns."""

    def __init__(self, contract: Any, received_at: int | None = None) -> None:
        """Ask the registry for the schema ids. All events are received at one moment (microseconds), or now."""
        self._contract = contract
        self._received_at = received_at
        with Registry(contract.registry, contract.prefix) as registry:
            self.ids = registry.ids()
        self._encoders = {entity: encoder(record, self.ids[record]) for entity, record in _RECORDS.items()}
        self._producer = Producer(
            {
                **contract.kafka.librdkafka(),
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 2,
                "message.max.bytes": 2 * MAX_MESSAGE_BYTES,
            }
        )

    def send(self, envelopes: Iterable[Envelope]) -> None:
        """Write webhooks' bodies as the bridge does, in this order."""
        for envelope in envelopes:
            organizations = envelope.get("organizations")
            headers = [] if organizations is None else [writers.header_of(organizations)]
            entity = ENTITIES[envelope["entity"]]
            key = str(id_of(entity, envelope["data"])).encode()
            self._produce(entity.topic, key, self.value(envelope), headers=headers)
        self.flush()

    def value(self, envelope: Envelope) -> bytes:
        """Return the record value of a webhook's body."""
        entity = envelope["entity"]
        fields = to_fields(ENTITIES[entity], envelope["data"])
        received_at = envelope.get("received_at", self._received_at or instants.now())
        fields |= {"event_id": "e", "action": envelope["action"], "received_at": received_at}
        return self._encoders[entity](fields)

    def remove(self, entity: str, *keys: str) -> None:
        """Write tombstones."""
        for key in keys:
            self._produce(entity, key.encode(), None)
        self.flush()

    def raw(self, topic: str, key: bytes | None, value: bytes | None, partition: int = -1) -> tuple[str, int, int]:
        """Write any bytes to a catalogue topic; return the record's full topic name, partition and offset."""
        at: list[tuple[str, int, int]] = []
        self._produce(
            topic,
            key,
            value,
            partition,
            lambda message: at.append((message.topic(), message.partition(), message.offset())),
        )
        self.flush()
        return at[0]

    def flush(self) -> None:
        """Wait for the broker."""
        assert self._producer.flush(30) == 0

    def _produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int = -1,
        done: Any = None,
        *,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        def delivered(error: Any, message: Any) -> None:
            assert error is None, error
            if done is not None:
                done(message)

        name = self._contract.topic(topic)
        while True:
            try:
                self._producer.produce(name, value, key, partition, delivered, headers=headers or [])
            except BufferError:
                self._producer.poll(0.1)
            else:
                return
