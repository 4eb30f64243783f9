"""Answers to webhooks as they go over the wire: receipts and problems."""

import msgspec

from openbsp.http import problems
from openbsp.http.problems import Answer, Headers, Reason

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


def problem(
    reason: Reason, detail: str, *, event_id: str | None = None, allow: str | None = None, close: bool = False
) -> Answer:
    """Return the answer of a refusal. `close` ends the connection after it."""
    members = None if event_id is None else {"event_id": event_id}
    headers: Headers = [] if allow is None else [(b"allow", allow.encode())]
    return problems.problem(reason, detail, members=members, headers=headers, close=close)
