"""POST /webhooks: a plain ASGI endpoint, because each object per request costs more than the publishing."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from avro.catalogue import ACTIONS, ENTITIES
from avro.tokens import Token
from bridge import answers, log, reasons
from bridge.answers import Answer
from bridge.errors import NotStoredError
from bridge.events import Event, RefusedError, check_organization, read_event
from bridge.keeper import Keeper
from bridge.log import LineWriter, RequestLine
from bridge.metrics import Metrics
from bridge.reasons import Reason
from bridge.records import DeadLetter
from bridge.settings import BridgeSettings
from bridge.timeouts import Timeouts

if TYPE_CHECKING:
    from prometheus_client import Counter

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
        lines: LineWriter | None,
    ) -> None:
        """Take what is needed from the settings. `lines` gets the request lines, if they are wanted."""
        self._authenticate = authenticate
        self._keeper = keeper
        self._metrics = metrics
        self._lines = lines
        self._max_body = settings.max_body_bytes
        self._max_depth = settings.max_json_depth
        self._max_concurrent = settings.max_concurrent_requests
        self._reading: Timeouts[asyncio.Task[Any]] = Timeouts(settings.body_timeout_s, self._body_too_slow)
        self._too_slow: set[asyncio.Task[Any]] = set()
        self._clock = log.Clock()
        self._outcomes: dict[tuple[str, str, str], Counter] = {}
        self.in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: an ASGI application."""
        line = RequestLine()
        arrived = time.monotonic()
        try:
            try:
                answer = await self._answer(scope, receive, arrived, line)
            except _TurnedDownError as turned_down:
                line.outcome = turned_down.reason.code
                line.detail = turned_down.detail
                answer = answers.problem(
                    turned_down.reason, turned_down.detail, allow=turned_down.allow, close=turned_down.close
                )
            except _ClientGoneError:
                line.outcome = "client_gone"
                return
            except Exception:  # noqa: BLE001 the client is told, and the log without the content
                _log.exception("a webhook ran into a fault of the bridge")
                line.outcome = reasons.INTERNAL_ERROR.code
                answer = answers.problem(reasons.INTERNAL_ERROR, "see the log of the bridge", close=True)
            line.status = answer.status
            await _send(answer, receive, send)
        finally:
            self._record(line, time.monotonic() - arrived)

    async def _answer(self, scope: Scope, receive: Receive, arrived: float, line: RequestLine) -> Answer:
        token, traceparent = self._admit(scope, line)
        line.token = token.name
        self.in_progress += 1
        try:
            body = await self._read_body(receive)
            received_at = log.now()
            try:
                event = read_event(body, received_at=received_at, traceparent=traceparent, max_depth=self._max_depth)
                if token.organizations is not None:
                    check_organization(event, token.organizations)
            except RefusedError as refusal:
                return await self._bury(refusal, body, received_at, arrived, line)
            return await self._keep(event, arrived, line)
        finally:
            self.in_progress -= 1

    def _admit(self, scope: Scope, line: RequestLine) -> tuple[Token, bytes | None]:
        """Return the token of the request and its traceparent. Raises _TurnedDownError; reads nothing of the body."""
        if scope["method"] != "POST":
            raise _TurnedDownError(reasons.METHOD_NOT_ALLOWED, "webhooks are posted", allow="POST")
        headers = _headers(scope["headers"])
        too_large = headers.length is None or headers.length > self._max_body
        token = self._authenticate(headers.authorization)
        if token is None:
            line.client = scope["client"][0] if scope.get("client") else None
            self._metrics.unauthorized.labels(PATH).inc()
            raise _TurnedDownError(reasons.UNAUTHORIZED, "a valid bearer token is needed", close=too_large)
        if self.in_progress >= self._max_concurrent:
            raise _TurnedDownError(reasons.OVERLOADED, "too many requests at once", close=too_large)
        fault = headers.media_type_fault()
        if fault is not None:
            raise _TurnedDownError(reasons.UNSUPPORTED_MEDIA_TYPE, fault, close=too_large)
        if headers.length is not None and too_large:
            raise self._too_large()
        return token, headers.traceparent

    async def _read_body(self, receive: Receive) -> bytes:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._reading.add(task)
        try:
            message = await receive()
            body: bytes = message.get("body", b"")
            if message.get("more_body"):
                chunks = [body]
                size = len(body)
                while message.get("more_body") and size <= self._max_body:
                    message = await receive()
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                body = b"".join(chunks)
        except asyncio.CancelledError:
            if task in self._too_slow:
                self._too_slow.discard(task)
                task.uncancel()
                raise _TurnedDownError(
                    reasons.BODY_TIMEOUT, "the body took longer than the bridge waits", close=True
                ) from None
            raise
        finally:
            self._reading.discard(task)
        if message["type"] == "http.disconnect":
            raise _ClientGoneError
        if len(body) > self._max_body:
            raise self._too_large()
        return body

    def _body_too_slow(self, task: "asyncio.Task[Any]") -> None:
        self._too_slow.add(task)
        task.cancel()

    def _too_large(self) -> _TurnedDownError:
        return _TurnedDownError(reasons.TOO_LARGE, f"the body is larger than {self._max_body} bytes", close=True)

    async def _keep(self, event: Event, arrived: float, line: RequestLine) -> Answer:
        line.event_id = event.event_id
        line.entity = event.entity.name
        line.action = event.action
        try:
            report = await self._keeper.keep(event, arrived)
        except NotStoredError as error:
            return self._not_stored(error, line)
        if report is None:
            line.outcome = "spooled"
            return answers.receipt(answers.Spooled(event.event_id, event.entity.name, event.action, event.id))
        line.outcome = "published"
        return answers.receipt(
            answers.Published(
                event.event_id, event.entity.name, event.action, event.id, report.topic, report.partition, report.offset
            )
        )

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
            return self._not_stored(error, line)
        line.outcome = refusal.reason.code
        self._metrics.dead_letters.labels(refusal.reason.code).inc()
        return answers.problem(refusal.reason, refusal.detail, event_id=refusal.event_id)

    def _not_stored(self, error: NotStoredError, line: RequestLine) -> Answer:
        line.outcome = reasons.NOT_STORED.code
        line.detail = str(error)
        return answers.problem(reasons.NOT_STORED, str(error))

    def _record(self, line: RequestLine, seconds: float) -> None:
        key = (line.entity or "", line.action or "", line.outcome)
        counter = self._outcomes.get(key)
        if counter is None:
            counter = self._metrics.webhooks.labels(*_label(key))
            if key[0] in ENTITIES:
                self._outcomes[key] = counter
        counter.inc()
        self._metrics.answer_seconds.observe(seconds)
        if self._lines is not None:
            line.time = self._clock.render(log.now())
            line.duration_ms = round(seconds * 1000, 3)
            self._lines.write(line.render())


def _label(key: tuple[str, str, str]) -> tuple[str, str, str]:
    """Names that a client made up must not become time series."""
    entity, action, outcome = key
    if entity and entity not in ENTITIES:
        entity = "other"
    if action and action not in ACTIONS:
        action = "other"
    return entity, action, outcome


class _Headers(NamedTuple):
    """The headers that matter. `length` is None for a body of unknown length."""

    authorization: bytes | None
    content_type: bytes
    encoding: bytes
    length: int | None
    traceparent: bytes | None

    def media_type_fault(self) -> str | None:
        """Tell why the content is not plain JSON, by its headers."""
        if self.content_type != b"application/json" and not _is_json(self.content_type):
            return "the content type must be application/json"
        if self.encoding != b"identity":
            return "the content must not be encoded, such as by gzip"
        return None


def _headers(headers: Iterable[tuple[bytes, bytes]]) -> _Headers:
    authorization = traceparent = None
    content_type, encoding = b"", b"identity"
    length: int | None = 0
    for name, value in headers:
        match name:
            case b"authorization":
                authorization = value
            case b"content-type":
                content_type = value
            case b"content-length":
                length = int(value)
            case b"transfer-encoding":
                length = None
            case b"content-encoding":
                encoding = value.lower()
            case b"traceparent":
                traceparent = value
    return _Headers(authorization, content_type, encoding, length, traceparent)


def _is_json(content_type: bytes) -> bool:
    media_type, _, parameters = content_type.lower().partition(b";")
    media_type = media_type.strip()
    if media_type != b"application/json" and not (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    ):
        return False
    charset = parameters.partition(b"charset=")[2].strip(b' "')
    return charset in {b"", b"utf-8", b"utf8"}


async def _send(answer: Answer, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    if answer.close:
        # Trap: closing while the client still sends makes its system throw away the answer, unread.
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        await _discard(receive)
        await send({"type": "http.response.body"})
    else:
        await send({"type": "http.response.body", "body": answer.body})


async def _discard(receive: Receive) -> None:
    size = 0
    try:
        async with asyncio.timeout(_LINGER_S):
            while size < _LINGER_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        pass
