"""Records as a consumer gets them: whatever is compared has gone through its bytes."""

from typing import Any

from avro import instants, rows, writers
from avro.codec import Decoder, encoder
from avro.columns import ENTITIES
from avro.schemas import latest
from support.join import IDS

Fields = dict[str, Any]

#: When events are received that do not say it: nothing that they tell is later than that.
LATER_THAN_ALL = instants.LAST


class Wire:
    """Writes and reads a record's values."""

    def __init__(self, record: str) -> None:
        self.encode = encoder(record, IDS[record])
        self._decoder = Decoder(record)
        self._decoder.learn(IDS[record], latest(record).text)

    def decode(self, value: bytes) -> Fields:
        return self._decoder.decode(value)

    def __call__(self, fields: Fields) -> Fields:
        return self.decode(self.encode(fields))


message_state, conversation_state, change = Wire("MessageState"), Wire("ConversationState"), Wire("StatusChange")
_events = {
    "messages": Wire("MessageEvent"),
    "conversations": Wire("ConversationEvent"),
    "contacts": Wire("ContactEvent"),
    "contacts_addresses": Wire("ContactAddressEvent"),
}


def event_fields(envelope: Fields) -> Fields:
    """Return the fields of the event that the bridge makes of a webhook's body."""
    fields = rows.to_fields(ENTITIES[envelope["entity"]], envelope["data"])
    return {
        "event_id": "e",
        "action": envelope["action"],
        "received_at": envelope.get("received_at", LATER_THAN_ALL),
        **fields,
    }


def event_bytes(envelope: Fields) -> bytes:
    """Return the value of the event's record."""
    return _events[envelope["entity"]].encode(event_fields(envelope))


def source_of(envelope: Fields) -> tuple[str, bytes]:
    """Return the topic of the event, without prefix, and its key."""
    entity = ENTITIES[envelope["entity"]]
    return entity.topic, str(rows.id_of(entity, envelope["data"])).encode()


def event_of(envelope: Fields) -> Fields:
    """Return the event of a webhook's body, as the streams get it from the decoder."""
    return _events[envelope["entity"]](event_fields(envelope))


def headers_of(envelope: Fields) -> list[tuple[str, bytes]] | None:
    """Return the header of an event whose writer may tell of some `organizations` only, else none."""
    organizations = envelope.get("organizations")
    return None if organizations is None else [writers.header_of(organizations)]
