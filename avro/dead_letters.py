"""Dead letters as records: one rule for their keys and headers, whoever makes them."""

from collections.abc import Mapping
from typing import Any

from avro import cloudevents, codec

_SUBJECT = "ce_subject"


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
