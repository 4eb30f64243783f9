"""CloudEvents 1.0 headers in the Kafka protocol binding's binary content mode."""

from collections.abc import Callable

from avro import instants

Header = tuple[str, bytes]

CONTENT_TYPE: Header = ("content-type", b"application/avro")
#: An extension attribute: a repair read the row from the sender's database, instead of a webhook.
RECONCILED: Header = ("ce_reconciled", b"true")
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
