"""Events and dead letters as Kafka records. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from avro import cloudevents, codec, writers
from avro.catalogue import ACTIONS, TOPICS, topic_name
from avro.columns import ENTITIES
from avro.dead_letters import DeadLetters, redriven_header
from avro.rows import to_fields
from bridge.delivery.items import DeadLetter, Event, Item

_DEAD_LETTERS = "dead-letters"


class Record(NamedTuple):
    """What a producer needs of a record."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[cloudevents.Header]


class RecordMaker:
    """Makes records with the registry's schema ids."""

    def __init__(self, prefix: str, source: str, ids: Mapping[str, int]) -> None:
        """Compile the writers. `source` becomes `ce_source`; `ids` has an id for each record name."""
        self._events = {}
        for entity in ENTITIES.values():
            topic = topic_name(prefix, entity.topic)
            encode = _encoder(entity.topic, ids)
            for action in ACTIONS:
                headers = cloudevents.header_maker(source, f"openbsp.{entity.name}.{action}")
                self._events[entity.name, action] = (topic, encode, headers)
        self._dead_letters = topic_name(prefix, _DEAD_LETTERS)
        self._dead_letter_records = DeadLetters(source, ids["DeadLetter"])

    def record(self, item: Item) -> Record:
        """Return the record of an event or a dead letter."""
        return self._event(item) if isinstance(item, Event) else self._dead_letter(item)

    def _event(self, event: Event) -> Record:
        topic, encode, headers_of = self._events[event.entity.name, event.action]
        fields = to_fields(event.entity, event.row)
        fields["event_id"] = event.event_id
        fields["action"] = event.action
        fields["received_at"] = event.received_at
        fields["reconciled"] = event.reconciled
        time = fields["updated_at"] if "updated_at" in fields else fields.get("created_at", event.received_at)
        key = event.id
        headers = headers_of(event.event_id, key, time)
        if event.traceparent is not None:
            headers.append((cloudevents.TRACEPARENT, event.traceparent))
        if event.redriven:
            headers.append(redriven_header(event.redriven))
        if event.reconciled:
            headers.append(cloudevents.RECONCILED)
        if event.organizations is not None:
            headers.append(writers.header_of(event.organizations))
        return Record(topic, key.encode(), encode(fields), headers)

    def _dead_letter(self, letter: DeadLetter) -> Record:
        key = letter.fields["key"]
        value, headers = self._dead_letter_records.record(letter.fields)
        if letter.traceparent is not None:
            headers.append((cloudevents.TRACEPARENT, letter.traceparent))
        if letter.redriven:
            headers.append(redriven_header(letter.redriven))
        if letter.organizations is not None:
            headers.append(writers.header_of(letter.organizations))
        return Record(self._dead_letters, key.encode() if key else None, value, headers)


def _encoder(topic: str, ids: Mapping[str, int]) -> Callable[[Mapping[str, Any]], bytes]:
    schema = TOPICS[topic].schema
    if schema is None:
        raise ValueError(f"{topic} has no schema")
    return codec.encoder(schema, ids[schema])
