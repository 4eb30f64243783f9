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
    """A stable code, its HTTP status, and its meaning for readers; `headers` are those that each such answer has."""

    code: str
    status: int
    title: str
    meaning: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Answer:
    """A whole answer: status, headers, body."""

    __slots__ = ("body", "close", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes, *, close: bool = False) -> None:
        self.status = status
        #: Whether the connection ends with it; `headers` says so too.
        self.close = close
        self.headers = headers
        self.body = body


def by_code(*modules: Mapping[str, Any]) -> Mapping[str, Reason]:
    """Return every reason that has a name in one of these modules, by its code."""
    named = [value for module in modules for value in module.values() if isinstance(value, Reason)]
    return MappingProxyType({reason.code: reason for reason in named})


def problem(
    reason: Reason,
    detail: str,
    *,
    members: Mapping[str, Any] | None = None,
    allow: str | None = None,
    retry_after_s: int | None = None,
    close: bool = False,
) -> Answer:
    """Return the answer of a refusal. `detail` is for people; `members` are additional ones of the problem.

    `allow` are the methods of the path, if the request's is none of them; `retry_after_s` the seconds to wait, where
    it is not the usual second. `close` ends the connection after the answer.
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
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *reason.headers,
    ]
    if allow is not None:
        headers.append((b"allow", allow.encode()))
    if retry_after_s is None and reason.status == HTTPStatus.SERVICE_UNAVAILABLE:
        retry_after_s = RETRY_AFTER_S
    if retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % retry_after_s))
    if close:
        headers.append(CLOSE)
    return Answer(reason.status, headers, body, close=close)


def response(answer: Answer) -> Response:
    """Return an answer as a Starlette response."""
    made = Response(answer.body, answer.status)
    made.raw_headers = list(answer.headers)
    return made
