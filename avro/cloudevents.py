"""CloudEvents 1.0 headers in the Kafka protocol binding's binary content mode."""

import re
from collections.abc import Callable

from avro import instants

Header = tuple[str, bytes]

CONTENT_TYPE: Header = ("content-type", b"application/avro")
#: An extension attribute: a repair read the row from the sender's database, instead of a webhook.
RECONCILED: Header = ("ce_reconciled", b"true")
#: W3C trace context: the header of requests and of records, if there is one.
TRACEPARENT = "traceparent"
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_VERSION: Header = ("ce_specversion", b"1.0")


def header_maker(source: str, event_type: str) -> Callable[[str, str, int], list[Header]]:
    """Return a function `(event id, subject, micros) -> headers` for events of one type from one source."""
    source_header: Header = ("ce_source", source.encode())
    type_header: Header = ("ce_type", event_type.encode())

    def headers(event_id: str, subject: str, time: int) -> list[Header]:
        return [
            _VERSION,
            ("ce_id", event_id.encode()),
            source_header,
            type_header,
            ("ce_subject", subject.encode()),
            ("ce_time", instants.render(time).encode()),
            CONTENT_TYPE,
        ]

    return headers


def traceparent(value: object) -> bytes | None:
    """Return the value of a header TRACEPARENT if it is a valid one."""
    return value if type(value) is bytes and _TRACEPARENT.fullmatch(value) else None
