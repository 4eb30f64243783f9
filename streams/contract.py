"""The worker's side of the contract: decoded events in, encoded records with their headers out."""

from collections.abc import Mapping
from typing import Any

from avro import cloudevents, codec, instants, writers
from avro.catalogue import TOPICS, topic_name
from avro.columns import ENTITIES, Kind
from avro.dead_letters import DeadLetters
from avro.identity import name_id, status_change_event_id
from avro.schemas import versions
from streams.engine.source import Record
from streams.limits import ID_BYTES, PAYLOAD_BYTES

SOURCE = "openbsp-streams"

#: Catalogue names of the topics that the worker reads; their partitions with the same number belong together.
SOURCES = ("messages", "conversations", "contacts", "contacts-addresses", "streams-contributions")

_EVENTS = {entity.topic: str(TOPICS[entity.topic].schema) for entity in ENTITIES.values()}
#: Fields that are instants. `received_at` among them: a conversation's `active_at` can depend on it.
_INSTANTS = {
    entity.topic: (*(name for name, kind in entity.columns.items() if kind is Kind.INSTANT), "received_at")
    for entity in ENTITIES.values()
}

Encoded = tuple[bytes, list[cloudevents.Header]]


class Contract:
    """Codecs for one set of schema ids, and the full names of the topics."""

    def __init__(self, prefix: str, schema_ids: Mapping[str, int] | None = None) -> None:
        """Set the topics; with the ids of the newest schemas, events and records too (`use`)."""
        self._prefix = prefix
        self.decoders = {name: codec.Decoder(record) for name, record in _EVENTS.items()}
        self.names = {topic_name(prefix, name): name for name in SOURCES}
        if schema_ids is not None:
            self.use(schema_ids)

    def use(self, schema_ids: Mapping[str, int]) -> None:
        """Take the ids of the newest schemas, by record name (`Registry.ids`)."""
        for name, record in _EVENTS.items():
            self.decoders[name].learn(schema_ids[record], versions(record)[-1].text)
        self._message_state = codec.encoder("MessageState", schema_ids["MessageState"])
        self._conversation_state = codec.encoder("ConversationState", schema_ids["ConversationState"])
        self._status_change = codec.encoder("StatusChange", schema_ids["StatusChange"])
        self._dead_letters = DeadLetters(SOURCE, schema_ids["DeadLetter"])
        self._message_headers = cloudevents.header_maker(SOURCE, "openbsp.message-state")
        self._conversation_headers = cloudevents.header_maker(SOURCE, "openbsp.conversation-state")
        self._status_change_headers = cloudevents.header_maker(SOURCE, "openbsp.status-change")

    def topic(self, name: str) -> str:
        """Return the full name of a catalogue topic."""
        return topic_name(self._prefix, name)

    def event(self, name: str, value: bytes) -> dict[str, Any]:
        """Return the fields of an event, `name` being its topic's in the catalogue.

        Raises Refused or CodecError for unusable values, UnknownSchemaIdError for those that may become usable.
        """
        event = self.decoders[name].decode(value)
        first, last = instants.FIRST, instants.LAST
        for column in _INSTANTS[name]:
            at = event[column]
            if at is not None and not first <= at <= last:
                raise _out_of_range()
        if name == "messages" and event["status"]:
            for at in event["status"].values():
                if not first <= at <= last:
                    raise _out_of_range()
        return event

    def message_state(self, fields: dict[str, Any]) -> Encoded:
        """Return the value and the headers of a MessageState."""
        value = self._message_state(fields)
        return value, self._message_headers(name_id(value), fields["id"], _time(fields))

    def conversation_state(self, fields: dict[str, Any]) -> Encoded:
        """Return the value and the headers of a ConversationState."""
        value = self._conversation_state(fields)
        return value, self._conversation_headers(name_id(value), fields["id"], _time(fields))

    def status_change(self, fields: dict[str, Any]) -> Encoded:
        """Return the value and the headers of a StatusChange."""
        event_id = status_change_event_id(
            fields["message_id"], fields["status"], conversation_known=fields["conversation"] is not None
        )
        return self._status_change(fields), self._status_change_headers(event_id, fields["message_id"], fields["at"])

    def dead_letter(self, record: Record, refused: "Refused") -> Encoded:
        """Return the value and the headers of the dead letter for an unusable record."""
        event_id = name_id(f"{record.topic}\n{record.partition}\n{record.offset}".encode())
        key = kept_key(record)
        size = None if record.value is None else len(record.value)
        fields = {
            "event_id": event_id,
            "reason": refused.reason,
            "detail": refused.detail,
            "origin": "streams",
            "received_at": instants.now(),
            "key": None if key is None else key.decode("utf-8", "replace"),
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "payload": record.value if size is None or size <= PAYLOAD_BYTES else None,
            "payload_size": size,
        }
        value, headers = self._dead_letters.record(fields)
        trace = next((given for name, given in record.headers or () if name == cloudevents.TRACEPARENT), None)
        if (valid := cloudevents.traceparent(trace)) is not None:
            headers.append((cloudevents.TRACEPARENT, valid))
        # A redrive must keep the writer's limit.
        return value, headers + writers.headers_of(record.headers)


def kept_key(record: Record) -> bytes | None:
    """Return the key for a record's dead letter: the record's, if it could be one of the project's."""
    if record.key is None or len(record.key) > ID_BYTES:
        return None
    try:
        record.key.decode()
    except UnicodeDecodeError:
        return None
    return record.key


class Refused(Exception):  # noqa: N818 it is the record that is refused, not the program that fails
    """A record that can never be used. `reason` is a stable code."""

    def __init__(self, reason: str, detail: str) -> None:
        """Set the reason; the loop adds the record."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def _out_of_range() -> Refused:
    return Refused("out_of_range", "an instant is outside the years 1 to 9999, which clients cannot read")


def _time(fields: dict[str, Any]) -> int:
    """Return the time of a state. It depends on the state alone, so that writing it again gives the same record."""
    for name in ("updated_at", "created_at", "timestamp"):
        if fields.get(name) is not None:
            return int(fields[name])
    status, last = fields.get("status"), fields.get("last_message")
    told = list(status.values()) if isinstance(status, dict) else []
    if last is not None and last.get("timestamp") is not None:
        told.append(last["timestamp"])
    return max(told, default=0)
