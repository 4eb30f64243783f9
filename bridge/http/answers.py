"""Answers as they go over the wire: receipts and RFC 9457 problems."""

import msgspec

from openbsp.http.problems import MEDIA_TYPE, Reason, content

Headers = list[tuple[bytes, bytes]]

RETRY_AFTER_S = 2

_PROBLEM = MEDIA_TYPE.encode()
_encode = msgspec.json.Encoder().encode
#: The header of an answer after which the connection ends.
CLOSE = (b"connection", b"close")


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


class Answer:
    """A whole answer: status, headers, body."""

    __slots__ = ("body", "close", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes, *, close: bool = False) -> None:
        self.status = status
        #: Whether the connection ends with it; `headers` says so too.
        self.close = close
        self.headers = headers
        self.body = body


def receipt(content: Published | Spooled) -> Answer:
    """Return the 202."""
    body = _encode(content)
    return Answer(202, [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))], body)


def problem(
    reason: Reason, detail: str, *, event_id: str | None = None, allow: str | None = None, close: bool = False
) -> Answer:
    """Return the answer of a refusal. `close` ends the connection after it."""
    members = content(reason, detail)
    if event_id is not None:
        members["event_id"] = event_id
    body = _encode(members)
    headers = [(b"content-type", _PROBLEM), (b"content-length", b"%d" % len(body))]
    if reason.status == 401:  # noqa: PLR2004
        headers.append((b"www-authenticate", b'Bearer realm="webhooks"'))
    if reason.status == 503:  # noqa: PLR2004
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_S))
    if allow is not None:
        headers.append((b"allow", allow.encode()))
    if close:
        headers.append(CLOSE)
    return Answer(reason.status, headers, body, close=close)
