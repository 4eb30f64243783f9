"""Answers to webhooks that were accepted: their receipts, as they go over the wire."""

import msgspec

from openbsp.http.problems import Answer

_encode = msgspec.json.Encoder().encode


class Published(msgspec.Struct, gc=False):
    """The receipt of an event that all in-sync replicas have."""

    event_id: str
    entity: str
    action: str
    id: str
    topic: str
    partition: int
    offset: int
    disposition: str = "published"


class Spooled(msgspec.Struct, gc=False):
    """The receipt of an event that is fsynced on the bridge's disk."""

    event_id: str
    entity: str
    action: str
    id: str
    disposition: str = "spooled"


def receipt(content: Published | Spooled) -> Answer:
    """Return the 202."""
    body = _encode(content)
    return Answer(202, [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))], body)
