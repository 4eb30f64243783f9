"""Refusals as RFC 9457 problem details: each has one reason, a stable code in answer, log, metric and documentation."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import msgspec
from starlette.responses import Response

TYPE = "urn:openbsp:stream-bridge:"
MEDIA_TYPE = "application/problem+json"
#: The value of `Retry-After` in a 503.
RETRY_AFTER_S = 1

Headers = list[tuple[bytes, bytes]]

#: The header of an answer after which the connection ends.
CLOSE = (b"connection", b"close")

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Reason:
    """A stable code, its HTTP status, and its meaning for readers."""

    code: str
    status: int
    title: str
    meaning: str


class Answer:
    """A whole answer: status, headers, body."""

    __slots__ = ("body", "close", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes, *, close: bool = False) -> None:
        self.status = status
        #: Whether the connection ends with it; `headers` says so too.
        self.close = close
        self.headers = headers
        self.body = body


def by_code(*reasons: Reason) -> Mapping[str, Reason]:
    """Return the reasons of a service by their codes, in this order."""
    return MappingProxyType({reason.code: reason for reason in reasons})


def problem(
    reason: Reason,
    detail: str,
    *,
    members: Mapping[str, Any] | None = None,
    headers: Headers | None = None,
    close: bool = False,
) -> Answer:
    """Return the answer of a refusal. `detail` is for people; `members` are additional ones of the problem.

    `headers` are added to the usual ones; a `retry-after` among them replaces the usual one. `close` ends the
    connection after the answer.
    """
    body = _encode(
        {
            "type": TYPE + reason.code,
            "title": reason.title,
            "status": reason.status,
            "detail": detail,
            "reason": reason.code,
            **(members or {}),
        }
    )
    all_headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *(headers or ()),
    ]
    if reason.status == HTTPStatus.UNAUTHORIZED:
        all_headers.append((b"www-authenticate", b'Bearer realm="openbsp"'))
    if reason.status == HTTPStatus.SERVICE_UNAVAILABLE and not any(name == b"retry-after" for name, _ in all_headers):
        all_headers.append((b"retry-after", b"%d" % RETRY_AFTER_S))
    if close:
        all_headers.append(CLOSE)
    return Answer(reason.status, all_headers, body, close=close)


def response(answer: Answer) -> Response:
    """Return an answer as a Starlette response."""
    made = Response(answer.body, answer.status)
    made.raw_headers = list(answer.headers)
    return made
