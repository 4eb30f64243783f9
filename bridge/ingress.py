"""POST /webhooks: a plain ASGI endpoint, because each object per request costs more than the publishing."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from avro.tokens import Token
from bridge import answers, reasons
from bridge.answers import Answer
from bridge.errors import NotStoredError
from bridge.events import Event, RefusedError, check_organization, read_event
from bridge.keeper import Keeper
from bridge.metrics import Metrics
from bridge.publisher import Report
from bridge.reasons import Reason
from bridge.records import DeadLetter
from bridge.request_log import RequestLine, RequestLog
from bridge.settings import BridgeSettings
from bridge.slow_clients import TIMED_OUT

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATH = "/webhooks"

_log = logging.getLogger(__name__)

#: What a refused client may still send before the connection is closed under it, so that it gets to read the answer.
_LINGER_BYTES = 8 * 1024 * 1024
_LINGER_S = 1.0


class _TurnedDownError(Exception):
    """A request that is answered without looking at its body as an event."""

    def __init__(self, reason: Reason, detail: str, *, allow: str | None = None, close: bool = False) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.allow = allow
        self.close = close


class _ClientGoneError(Exception):
    """The connection ended before the body did: there is nobody to answer."""


class Ingress:
    """Answers webhooks as section 3 of the design says."""

    def __init__(
        self,
        settings: BridgeSettings,
        authenticate: Callable[[bytes | None], Token | None],
        keeper: Keeper,
        metrics: Metrics,
        requests: RequestLog,
    ) -> None:
        """Take what is needed from the settings."""
        self._authenticate = authenticate
        self._keeper = keeper
        self._metrics = metrics
        self._requests = requests
        self._max_body = settings.max_body_bytes
        self._max_depth = settings.max_json_depth
        self._max_concurrent = settings.max_concurrent_requests
        self.in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: an ASGI application."""
        arrived = time.monotonic()
        received_at = time.time_ns() // 1000
        line = RequestLine()
        self.in_progress += 1
        try:
            answer = await self._answer(scope, receive, received_at, arrived, line)
            if answer is not None:
                line.status = answer.status
                await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
                if answer.close:
                    await _send_and_linger(answer, receive, send)
                else:
                    await send({"type": "http.response.body", "body": answer.body})
        finally:
            self.in_progress -= 1
            self._requests.add(line, received_at, time.monotonic() - arrived)

    async def _answer(
        self, scope: Scope, receive: Receive, received_at: int, arrived: float, line: RequestLine
    ) -> Answer | None:
        """Return the answer, None if nobody is there any more. `line` is told how it ended."""
        body = b""
        try:
            token, traceparent = self._admit(scope, line)
            message = await receive()
            if message["type"] != "http.request" or message.get("more_body"):
                body = await self._rest_of_body(message, scope, receive)
            else:
                body = message["body"]
            self._check_size(len(body))
            event = read_event(body, received_at, traceparent, self._max_depth)
            if token.organizations is not None:
                check_organization(event, token.organizations)
            line.event_id = event.event_id
            line.entity = event.entity.name
            line.action = event.action
            return _receipt(event, await self._keeper.keep(event, arrived), line)
        except RefusedError as refusal:
            return await self._bury(refusal, body, received_at, arrived, line)
        except NotStoredError as error:
            return _not_stored(error, line)
        except _TurnedDownError as turned_down:
            line.outcome = turned_down.reason.code
            line.detail = turned_down.detail
            return answers.problem(
                turned_down.reason, turned_down.detail, allow=turned_down.allow, close=turned_down.close
            )
        except _ClientGoneError:
            line.outcome = "client_gone"
            return None
        except Exception:  # noqa: BLE001 the client is told, and the log without the content
            _log.exception("a webhook ran into a fault of the bridge")
            line.outcome = reasons.INTERNAL_ERROR.code
            return answers.problem(reasons.INTERNAL_ERROR, "see the log of the bridge", close=True)

    def _admit(self, scope: Scope, line: RequestLine) -> tuple[Token, bytes | None]:
        """Return the token of the request and its traceparent. Raises _TurnedDownError; reads nothing of the body."""
        if scope["method"] != "POST":
            raise _TurnedDownError(reasons.METHOD_NOT_ALLOWED, "webhooks are posted", allow="POST")
        headers: dict[bytes, bytes] = dict(scope["headers"])
        length = int(headers.get(b"content-length", b"0"))
        too_large = length > self._max_body
        token = self._authenticate(headers.get(b"authorization"))
        if token is None:
            line.client = scope["client"][0] if scope.get("client") else None
            self._metrics.unauthorized.labels(PATH).inc()
            close = too_large or b"transfer-encoding" in headers
            raise _TurnedDownError(reasons.UNAUTHORIZED, "a valid bearer token is needed", close=close)
        line.token = token.name
        if self.in_progress > self._max_concurrent:
            raise _TurnedDownError(reasons.OVERLOADED, "too many requests at once", close=too_large)
        content_type = headers.get(b"content-type", b"")
        if content_type != b"application/json" and not _is_json(content_type):
            detail = "the content type must be application/json"
            raise _TurnedDownError(reasons.UNSUPPORTED_MEDIA_TYPE, detail, close=too_large)
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            detail = "the content must not be encoded, such as by gzip"
            raise _TurnedDownError(reasons.UNSUPPORTED_MEDIA_TYPE, detail, close=too_large)
        self._check_size(length)
        return token, headers.get(b"traceparent")

    async def _rest_of_body(self, message: MutableMapping[str, Any], scope: Scope, receive: Receive) -> bytes:
        """Return the body, or what makes it too large, of a request whose first part is `message`."""
        chunks = []
        size = 0
        while message["type"] == "http.request":
            if TIMED_OUT in scope.get("state", ()):
                raise _TurnedDownError(reasons.BODY_TIMEOUT, "the body took longer than the bridge waits", close=True)
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if not message.get("more_body") or size > self._max_body:
                return b"".join(chunks)
            message = await receive()
        raise _ClientGoneError

    def _check_size(self, size: int) -> None:
        if size > self._max_body:
            detail = f"the body is larger than {self._max_body} bytes"
            raise _TurnedDownError(reasons.TOO_LARGE, detail, close=True)

    async def _bury(
        self, refusal: RefusedError, body: bytes, received_at: int, arrived: float, line: RequestLine
    ) -> Answer:
        """Keep a dead letter, then say why."""
        line.event_id = refusal.event_id
        line.entity = refusal.entity
        line.action = refusal.action
        line.detail = refusal.detail
        letter = DeadLetter(
            refusal.event_id,
            refusal.reason.code,
            refusal.detail,
            received_at,
            entity=refusal.entity,
            action=refusal.action,
            key=refusal.key,
            organization_id=refusal.organization_id,
            payload=body if refusal.keep else None,
            payload_size=len(body),
        )
        try:
            await self._keeper.keep(letter, arrived)
        except NotStoredError as error:
            return _not_stored(error, line)
        line.outcome = refusal.reason.code
        self._metrics.dead_letters.labels(refusal.reason.code).inc()
        return answers.problem(refusal.reason, refusal.detail, event_id=refusal.event_id)


def _receipt(event: Event, report: Report | None, line: RequestLine) -> Answer:
    if report is None:
        line.outcome = "spooled"
        return answers.receipt(answers.Spooled(event.event_id, event.entity.name, event.action, event.id))
    line.outcome = "published"
    return answers.receipt(
        answers.Published(
            event.event_id, event.entity.name, event.action, event.id, report.topic, report.partition, report.offset
        )
    )


def _not_stored(error: NotStoredError, line: RequestLine) -> Answer:
    line.outcome = reasons.NOT_STORED.code
    line.detail = str(error)
    return answers.problem(reasons.NOT_STORED, str(error))


def _is_json(content_type: bytes) -> bool:
    media_type, _, parameters = content_type.lower().partition(b";")
    media_type = media_type.strip()
    if media_type != b"application/json" and not (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    ):
        return False
    charset = parameters.partition(b"charset=")[2].strip(b' "')
    return charset in {b"", b"utf-8", b"utf8"}


async def _send_and_linger(answer: Answer, receive: Receive, send: Send) -> None:
    """Send a body after which the connection ends.

    Trap: closing it while the client still sends makes its system throw away the answer, unread.
    """
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            more = True
            while more and size < _LINGER_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                more = message.get("more_body", False)
    await send({"type": "http.response.body"})
