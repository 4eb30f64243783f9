"""One webhook, from its arrival to its answer, independent of how it was transported."""

import logging
import time
from collections.abc import Callable, Collection, MutableMapping
from typing import Any

from avro import cloudevents, instants, writers
from avro.catalogue import ACTIONS
from avro.columns import ENTITIES, Entity
from avro.dead_letters import REDRIVEN_HTTP_HEADER, redrives
from bridge.delivery.items import DeadLetter, Event
from bridge.delivery.keeper import Keep, Kept
from bridge.delivery.memory import Memory, Waiter, cost
from bridge.delivery.publisher import Report
from bridge.errors import NotStoredError
from bridge.http import receipts, refusals
from bridge.http.body_ends import INSPECTED_BYTES, read_beginning, read_end
from bridge.http.events import (
    RefusedError,
    check_organization,
    check_suppressed,
    decompressed,
    may_keep,
    name_of,
    read_event,
)
from bridge.http.request_log import RequestLine, RequestLog
from bridge.metrics import Metrics
from bridge.settings import BridgeSettings
from bridge.suppressions.hashes import NOBODY, Suppressed
from openbsp.http.problems import Answer, Reason, problem
from openbsp.http.refusals import INTERNAL_ERROR, METHOD_NOT_ALLOWED, TOO_LARGE, UNSUPPORTED_MEDIA_TYPE
from openbsp.http.tokens import unauthorized
from openbsp.http.tokens.token_set import Token
from openbsp.log import event

Scope = MutableMapping[str, Any]
Respond = Callable[[Answer], None]

PATH = "/webhooks"
#: A trailing slash, as many client libraries add it, must not lose webhooks.
PATHS = frozenset({PATH, PATH + "/"})

#: How long a request waits for memory. After it, it can still be spooled within the 4 s in which it must be answered.
ADMISSION_S = 3.0

_GZIP = frozenset({b"gzip", b"x-gzip"})

#: Digits of the longest body that the parser accepts, which counts in 64 bits.
LENGTH_DIGITS = 20

_REDRIVEN = REDRIVEN_HTTP_HEADER.encode()
_ORGANIZATIONS = writers.HTTP_HEADER.encode()
#: With the value `true`: a repair read the row from the sender's database and made the body.
RECONCILED_HEADER = "openbsp-reconciled"
_RECONCILED = RECONCILED_HEADER.encode()

#: How OpenBSP's sender identifies itself: PostgreSQL's extension.
_SENDER = b"pg_net/"

_log = logging.getLogger(__name__)


def caller_of(authorization: bytes | None, user_agent: bytes) -> str:
    """Return the label of a refused client: a scanner has no token, and not the user agent of OpenBSP."""
    scheme, _, token = (authorization or b"").partition(b" ")
    if scheme.lower() == b"bearer" and token.strip():
        return "token"
    return "pg_net" if user_agent.startswith(_SENDER) else "stranger"


class TurnedDownError(Exception):
    """A request that is answered without reading its body as an event."""

    def __init__(self, reason: Reason, detail: str, *, allow: str | None = None, close: bool = False) -> None:
        """Give the reason; `close` ends the connection, because the rest of the request is not read."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.allow = allow
        self.close = close


class TooLargeError(TurnedDownError):
    """A body above the limit, of an authorized sender: its ends are still inspected.

    `size` is its size, or how much of it has arrived. `beginning` is set if the body came compressed.
    """

    def __init__(self, size: int, limit: int, *, beginning: bytes | None = None) -> None:
        super().__init__(TOO_LARGE, f"the body is larger than {limit} bytes", close=True)
        self.size = size
        self.beginning = beginning


class Shared:
    """What all webhooks share: tokens, limits, the keeper, counters."""

    def __init__(
        self,
        settings: BridgeSettings,
        authenticate: Callable[[bytes | None], Token | None],
        keep: Keep,
        metrics: Metrics,
        requests: RequestLog,
        *,
        memory: Memory,
        suppressed: Suppressed = NOBODY,
    ) -> None:
        """Take what is needed from the settings."""
        self.suppressed = suppressed
        self.memory = memory
        self.authenticate = authenticate
        self.keep = keep
        self.metrics = metrics
        self.requests = requests
        self.max_body = settings.max_body_bytes
        self.max_depth = settings.max_json_depth
        #: Webhooks that are not answered yet.
        self.in_progress = 0


class Webhook:
    """A request: `admit` it, `enter` when there is memory for its body, `take` that; then `respond` has the answer.

    All of it runs on the event loop. Exceptions of `admit` and `take` go to `fail`, which answers. `drop` ends a
    request whose client is gone.
    """

    __slots__ = (
        "_arrived",
        "_event",
        "_expected",
        "_gzip",
        "_held",
        "_line",
        "_organizations",
        "_received_at",
        "_reconciled",
        "_redriven",
        "_refusal",
        "_respond",
        "_shared",
        "_token",
        "_trace",
        "_unread",
        "_waiter",
    )

    def __init__(self, shared: Shared, respond: Respond, reserved: int = 0) -> None:
        """Record the arrival of a request, for which so many bytes of memory are counted already."""
        self._shared = shared
        self._respond: Respond | None = respond
        self._arrived = time.monotonic()
        self._received_at = instants.now()
        self._line = RequestLine()
        self._token: Token
        self._trace: bytes | None = None
        self._redriven = 0
        #: The organizations that the request may change, None for all.
        self._organizations: frozenset[str] | None = None
        self._reconciled = False
        self._event: Event
        self._refusal: RefusedError
        #: Whether some of the body will never be read, so that the connection has to end.
        self._unread = False
        #: Longest body, decompressed, in bytes.
        self._expected = 0
        self._gzip = False
        #: Bytes of memory that this request holds.
        self._held = reserved
        self._waiter: Waiter | None = None
        shared.in_progress += 1

    def admit(self, method: str, pairs: Collection[tuple[bytes, bytes]], client: str | None) -> None:
        """Check the head alone. Raises TurnedDownError."""
        if method != "POST":
            raise TurnedDownError(METHOD_NOT_ALLOWED, "send webhooks with POST", allow="POST")
        shared = self._shared
        headers = dict(pairs)
        # Trap: the parser allows any number of leading zeros, and int only so many digits.
        length = int(headers.get(b"content-length", b"0").strip()[-LENGTH_DIGITS:])
        too_large = length > shared.max_body
        token = shared.authenticate(headers.get(b"authorization"))
        if token is None:
            self._line.client = client
            caller = caller_of(headers.get(b"authorization"), headers.get(b"user-agent", b""))
            shared.metrics.unauthorized.labels(PATH, caller).inc()
            close = too_large or b"transfer-encoding" in headers
            raise TurnedDownError(unauthorized.REASON, unauthorized.DETAIL, close=close)
        self._line.token = token.name
        content_type = headers.get(b"content-type", b"")
        if content_type != b"application/json" and not _is_json(content_type):
            named = headers.get(_ORGANIZATIONS)
            if named is not None and not writers.narrowed(token.organizations, named):
                # How `bridge connect --check` asks whether a token is valid for an organization: nothing is kept.
                detail = "the token is bound to other organizations than the request names"
                raise TurnedDownError(refusals.WRONG_ORGANIZATION, detail, close=too_large)
            detail = "the content type must be application/json"
            raise TurnedDownError(UNSUPPORTED_MEDIA_TYPE, detail, close=too_large)
        encoding = headers.get(b"content-encoding")
        if encoding is not None and encoding.lower() != b"identity":
            self._gzip = encoding.lower() in _GZIP
            if not self._gzip:
                detail = "the content may be encoded by gzip and nothing else"
                raise TurnedDownError(UNSUPPORTED_MEDIA_TYPE, detail, close=too_large)
        self._token = token
        self._organizations = token.organizations
        narrower = headers.get(_ORGANIZATIONS)
        if narrower is not None:
            self._organizations = writers.narrowed(token.organizations, narrower)
        self._check_size(length)
        self._expected = shared.max_body if self._gzip or b"transfer-encoding" in headers else length
        self._trace = headers.get(b"traceparent")
        redriven = headers.get(_REDRIVEN)
        if redriven is not None:
            self._redriven = redrives(redriven)
            self._line.redriven = self._redriven
        self._reconciled = headers.get(_RECONCILED) == b"true"

    @property
    def is_plain(self) -> bool:
        """Whether the admitted head adds nothing to the event: `admit_known` does for an equal one."""
        return (
            self._trace is None
            and not self._gzip
            and not self._redriven
            and not self._reconciled
            and self._organizations is self._token.organizations
        )

    def admit_known(self, token: Token) -> None:
        """Admit a request with the head of one that was admitted before and is plain."""
        self._line.token = token.name
        self._token = token
        self._organizations = token.organizations

    def enter(self, size: int | None, go_on: Callable[[TurnedDownError | None], None]) -> None:
        """Call `go_on` when there is memory for the body: at once, or in turn.

        `size` is that of a received body. `go_on` gets a refusal if the request could no longer be answered in time.
        """
        memory, held = self._shared.memory, cost(self._expected if size is None or self._gzip else size)
        memory.give(self._held)
        self._held = 0
        if memory.take(held):
            self._held = held
            go_on(None)
            return

        # A received body uses memory while it waits as well.
        gathered = size or 0
        memory.add(gathered)

        def on_end(admitted: bool) -> None:  # noqa: FBT001 as declared
            memory.give(gathered)
            if admitted:
                self._held = held
                go_on(None)
            else:
                detail = f"no memory was free for the event within {ADMISSION_S:g} s: see BRIDGE_MEMORY_BYTES"
                go_on(TurnedDownError(refusals.OVERLOADED, detail, close=True))

        self._waiter = Waiter(held, self._arrived + ADMISSION_S, on_end)
        memory.wait(self._waiter)

    def take(self, body: bytes) -> None:
        """Keep the event in the body of an admitted request, or a dead letter of it. Raises TurnedDownError."""
        self._check_size(len(body))
        line = self._line
        try:
            if self._gzip:
                most = self._shared.max_body
                body = decompressed(body, most)
                if len(body) > most:
                    raise TooLargeError(len(body), most, beginning=body[:INSPECTED_BYTES])
            event = read_event(body, self._received_at, self._trace, self._shared.max_depth, self._may_keep)
            if self._organizations is not None:
                check_organization(event, self._organizations)
                named = event.organization_id
                event.organizations = self._organizations if named is None else frozenset({named})
            if self._shared.suppressed.active:
                check_suppressed(event, self._shared.suppressed)
        except RefusedError as refusal:
            self._bury(refusal, body if refusal.keep else None, len(body))
            return
        event.redriven = self._redriven
        event.reconciled = self._reconciled
        line.event_id = event.event_id
        line.entity = event.entity.name
        line.action = event.action
        self._event = event
        self._shared.keep(event, self._arrived, self._kept)

    def refuse_large(self, error: TooLargeError, beginning: bytes, end: bytes) -> None:
        """Keep a dead letter of what a body says that is too large; then answer. `end` is empty if it has not come."""
        if error.beginning is not None:
            beginning, end = error.beginning, b""
        first, last = read_beginning(beginning), read_end(end)
        entity, action = first.entity or last.entity, first.action or last.action
        known = entity is None or entity in ENTITIES
        # Trap: OpenBSP writes a row's short columns first, and `organization_id` is longer than `content` or `extra`.
        organization = first.organization_id
        if organization is None and self._organizations is not None and len(self._organizations) == 1:
            (organization,) = self._organizations
        refusal = RefusedError(
            error.reason,
            error.detail,
            entity=None if entity is None else name_of(entity),
            action=action if action in ACTIONS else None,
            key=first.id if known else None,
            organization_id=organization if known else None,
        )
        self._bury(refusal, None, error.size)

    def fail(self, error: Exception) -> None:
        """Answer an exception of `admit` or `take`; anything but TurnedDownError is a fault of the bridge."""
        if isinstance(error, TurnedDownError):
            self._line.detail = error.detail
            answer = problem(error.reason, error.detail, allow=error.allow, close=error.close)
            self._end(error.reason.code, answer)
            return
        # Trap: an exception's text may quote the body; the log writes the types of foreign ones only (openbsp/log.py).
        _log.error("internal error while answering a webhook", exc_info=error, extra=event("webhook.internal_error"))
        self._end(
            INTERNAL_ERROR.code,
            problem(INTERNAL_ERROR, "see the log of the bridge for the error", close=True),
        )

    def drop(self) -> None:
        """End without an answer: the client is gone, and its body with it."""
        self._end("client_gone", None)

    def _may_keep(self, entity: Entity, envelope: dict[str, Any]) -> bool:
        return may_keep(entity, envelope, self._organizations, self._shared.suppressed)

    def _check_size(self, size: int) -> None:
        if size > self._shared.max_body:
            raise TooLargeError(size, self._shared.max_body)

    def _kept(self, kept: Kept) -> None:
        event = self._event
        if isinstance(kept, Report):
            receipt: receipts.Published | receipts.Spooled = receipts.Published(
                event.event_id, event.entity.name, event.action, event.id, kept.topic, kept.partition, kept.offset
            )
            self._end("published", receipts.receipt(receipt))
        elif isinstance(kept, NotStoredError):
            self._not_stored(kept)
        else:
            receipt = receipts.Spooled(event.event_id, event.entity.name, event.action, event.id)
            self._end("spooled", receipts.receipt(receipt))

    def _bury(self, refusal: RefusedError, payload: bytes | None, size: int) -> None:
        """Keep a dead letter of so many bytes, then answer with the reason."""
        line = self._line
        line.event_id = refusal.event_id
        line.entity = refusal.entity
        line.action = refusal.action
        line.detail = refusal.detail
        self._refusal = refusal
        self._unread = refusal.reason is TOO_LARGE
        letter = DeadLetter(
            refusal.event_id,
            refusal.reason.code,
            refusal.detail,
            self._received_at,
            entity=refusal.entity,
            action=refusal.action,
            key=refusal.key,
            organization_id=refusal.organization_id,
            payload=payload,
            payload_size=size,
            redriven=self._redriven,
            organizations=self._organizations,
            traceparent=cloudevents.traceparent(self._trace),
        )
        self._shared.keep(letter, self._arrived, self._buried)

    def _buried(self, kept: Kept) -> None:
        if isinstance(kept, NotStoredError):
            self._not_stored(kept)
            return
        refusal = self._refusal
        self._shared.metrics.dead_letters.labels(refusal.reason.code).inc()
        answer = problem(refusal.reason, refusal.detail, members={"event_id": refusal.event_id}, close=self._unread)
        self._end(refusal.reason.code, answer)

    def _not_stored(self, error: NotStoredError) -> None:
        self._line.detail = str(error)
        self._end(refusals.NOT_STORED.code, problem(refusals.NOT_STORED, str(error), close=self._unread))

    def _end(self, outcome: str, answer: Answer | None) -> None:
        respond, self._respond = self._respond, None
        if respond is None:
            return
        self._line.outcome = outcome
        self._shared.in_progress -= 1
        if self._held:
            self._shared.memory.give(self._held)
        if self._waiter is not None:
            self._waiter.on_end = None
        try:
            if answer is not None:
                self._line.status = answer.status
                respond(answer)
        finally:
            self._shared.requests.add(self._line, self._received_at, time.monotonic() - self._arrived)


def _is_json(content_type: bytes) -> bool:
    media_type, _, parameters = content_type.lower().partition(b";")
    media_type = media_type.strip()
    if media_type != b"application/json" and not (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    ):
        return False
    for parameter in parameters.split(b";"):
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"charset" and value.strip(b' \t"') not in {b"utf-8", b"utf8"}:
            return False
    return True
