"""Dead letters as records: one rule for their keys and headers in all processes, and the meaning of their reasons."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from avro import cloudevents, codec

_SUBJECT = "ce_subject"

#: How often dead letters of an event were redriven: an extension attribute of the event's record, and of that of the
#: dead letter which it becomes again. Absent: never.
REDRIVEN_HEADER = "ce_redriven"
#: The same in the request that redrives an event.
REDRIVEN_HTTP_HEADER = "openbsp-redriven"
_REDRIVES_DIGITS = 3

#: The meaning of reasons that no answer of the bridge has, by `origin` and `reason`.
MEANINGS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("bridge", "broker_refused"): "The event was accepted and spooled, and Kafka refused its record for good.",
        ("bridge", "spool_age_limit"): "The event was accepted, and was in the spool longer than BRIDGE_SPOOL_MAX_AGE_S"
        " allows.",
        ("bridge", "suppressed"): "The event was accepted and spooled, and is of a contact that was erased meanwhile.",
        ("streams", "not_wire_format"): "The record's value does not begin as Confluent's wire format does.",
        ("streams", "unknown_schema"): "The schema registry does not know the schema id in the record's value.",
        ("streams", "wrong_subject"): "The schema id in the record's value is that of another record type.",
        ("streams", "undecodable"): "The record's value does not decode with the schema that it names.",
        ("streams", "out_of_range"): "The record has an instant outside the years 1 to 9999.",
        ("streams", "no_key"): "The record has no key.",
        ("streams", "bad_key"): "The record's key is not UTF-8, or not one that this topic has.",
        ("streams", "bad_header"): "The record's header `ce_organizations` names none, or not that of its row.",
        ("streams", "key_mismatch"): "The record's key is not the id of its row, so it may be in the wrong partition.",
        ("streams", "ends_worker"): "Two workers ended, each with this event as the only one in work.",
        ("streams", "too_large"): "The row, merged with what is known of it, or its id would exceed what a state record"
        " can hold.",
    }
)


class DeadLetters:
    """Makes the records of dead letters from one source."""

    def __init__(self, source: str, schema_id: int) -> None:
        """Compile the writer. `source` becomes `ce_source`."""
        self._encode = codec.encoder("DeadLetter", schema_id)
        self._headers = cloudevents.header_maker(source, "openbsp.dead-letter")

    def record(self, fields: Mapping[str, Any]) -> tuple[bytes, list[cloudevents.Header]]:
        """Return value and headers for the fields of the schema. `ce_subject` is the key, absent if there is none."""
        key = fields.get("key")
        headers = self._headers(fields["event_id"], key or "", fields["received_at"])
        if not key:
            # CloudEvents forbids an empty one.
            headers = [header for header in headers if header[0] != _SUBJECT]
        return self._encode(fields), headers


def redriven_header(times: int) -> cloudevents.Header:
    """Return the header of a record whose event was redriven so many times."""
    return REDRIVEN_HEADER, b"%d" % times


def redrives(value: bytes | None) -> int:
    """Return how often an event was redriven, by the value of its header; 0 without one, or if it is no number."""
    if value is None or not value.isdigit() or len(value) > _REDRIVES_DIGITS:
        return 0
    return int(value)
