"""Limits on connections, the same in every service: a maximum, and time-outs for slow clients.

uvicorn by itself waits forever for the rest of a request and for a client that does not read, buffers headers without
limit, answers malformed requests in plain text, and has a line of the log for each, without its client.
"""

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from openbsp.http import refusals
from openbsp.http.problems import Answer, Headers, Reason, problem
from openbsp.http.proxies import Proxies
from openbsp.log import FirstLines, event

if TYPE_CHECKING:
    from openbsp.metrics import ServiceMetrics

_log = logging.getLogger(__name__)

#: Longest request line and headers together, and longest trailers of a chunked body. Ours have a few hundred bytes;
#: common servers take 8 to 64 KiB.
MAX_HEAD_BYTES = 64 * 1024

#: How a TLS handshake begins: the type of its first record, and the major version.
_TLS = b"\x16\x03"
_TLS_DETAIL = "a TLS handshake, and this port is plain HTTP: use an http:// address, or a proxy that ends TLS"
NOT_HTTP = "not a valid HTTP request"

_LOOK_EVERY_S = 0.5
#: Connections that are checked before other tasks run.
_LOOK_AT_ONCE = 250
#: In place of the time since which a request is incomplete, once it was given up.
_COUNTED = float("-inf")
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in HTTPStatus
    if status >= HTTPStatus.OK
}
#: For trailers, the headers after a chunked body: they are discarded, and there may be any number.
_UNREAD: Any = deque(maxlen=0)


@dataclass(frozen=True, slots=True)
class Limits:
    """The maximum of connections, and the seconds that a client may take to send headers, and then a body.

    It may leave answers unread for as long as both together.
    """

    connections: int
    header_timeout_s: float
    body_timeout_s: float


class Connections:
    """All connections of a server, their limits, and counts of violations.

    Time limits are enforced by checking all connections periodically. That costs a request nothing, and is as exact as
    it is called often.
    """

    def __init__(self, limits: Limits, metrics: "ServiceMetrics") -> None:
        """Count in `metrics`."""
        self.limits = limits
        self.metrics = metrics
        self.proxies = Proxies()
        #: Each connection ends with its next answer.
        self.ending = False
        #: By what is wrong: scanners' requests do not hide a sender that speaks TLS.
        self._unreadable: defaultdict[str, FirstLines] = defaultdict(FirstLines)
        self._incomplete: dict[GuardedProtocol, tuple[object, float]] = {}

    async def watch(self, connections: Collection[Any]) -> None:
        """Check `connections` (a set that changes) until cancelled; other tasks run in between."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now = time.monotonic()
            all_ = iter(list(connections))
            while some := list(islice(all_, _LOOK_AT_ONCE)):
                self._look_at(some, now)
                await asyncio.sleep(0)
            self._drop_closed(connections)

    def look(self, connections: Collection[Any], now: float) -> None:
        """Give up the requests and answers that have waited for their client too long; `now` is time.monotonic()."""
        self._look_at(list(connections), now)
        self._drop_closed(connections)

    def add_unreadable(self, reason: Reason, detail: str, client: str | None) -> None:
        """Count and log what cannot be read as a request."""
        self.metrics.unreadable_requests.labels(reason.code).inc()
        unlogged = self._unreadable[detail].next()
        if unlogged is not None:
            refused = event("http.refused", reason=reason.code, client=client, not_logged=unlogged)
            _log.warning("refused what is no request: %s", detail, extra=refused)

    def _look_at(self, some: Iterable[Any], now: float) -> None:
        for connection in some:
            if not isinstance(connection, GuardedProtocol):
                continue
            request = connection.incomplete
            if request is None:
                self._incomplete.pop(connection, None)
                continue
            former, since = self._incomplete.get(connection, (None, now))
            since = since if former is request else now
            self._incomplete[connection] = (request, since)
            if now - since > self._limit(connection):
                if since != _COUNTED and not connection.transport.is_closing():
                    self.metrics.clients_given_up.inc()
                self._incomplete[connection] = (request, _COUNTED)
                connection.give_up()

    def _limit(self, connection: "GuardedProtocol") -> float:
        limits = self.limits
        if connection.holds_back:
            return limits.header_timeout_s + limits.body_timeout_s
        return limits.header_timeout_s if connection.in_headers else limits.body_timeout_s

    def _drop_closed(self, connections: Collection[Any]) -> None:
        for connection in [each for each in self._incomplete if each not in connections]:
            del self._incomplete[connection]


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol within limits; its refusals are problems, as all others."""

    def __init__(
        self,
        guard: Connections,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: Any = None,
    ) -> None:
        """Start with nothing received; `guard`, then uvicorn's arguments."""
        super().__init__(config, server_state, app_state, _loop)
        self._guard = guard
        self._behind_proxy = False
        #: Bytes received since the last read that completed a head or had some of a body in it.
        self._fruitless_bytes = 0
        self._fruitful = False
        #: The request in work, while others wait behind it: `cycle` is the latest of them.
        self._ahead: Any = None

    @property
    def holds_back(self) -> bool:
        """Whether answers are unread by the client; event streams end such clients themselves."""
        if self.transport.is_closing():
            return True
        cycle = self.cycle
        # All other answers have a length.
        streams = cycle is not None and cycle.chunked_encoding is True and not cycle.response_complete
        return self.flow.write_paused and not streams

    @property
    def in_headers(self) -> bool:
        """Whether the head of the latest request is still incomplete, or none has begun."""
        scope: Any = self.scope
        return scope is None or "path" not in scope  # the path is set when the headers are complete

    @property
    def incomplete(self) -> object | None:
        """Return what identifies the incomplete request, None if there is none; or the unread answers.

        None also while reading is paused: the client is not the slow one then.
        """
        if self.holds_back:
            return self.flow
        if self.flow.read_paused:
            return None
        if self.in_headers:
            return self if self.scope is None else self.scope
        # Trap: an extra line feed ends uvicorn's limit for idle connections, and begins no request.
        waits = self.cycle.more_body or self.cycle.response_complete
        idle = self.timeout_keep_alive_task is not None
        return self.cycle if waits and not idle else None

    def connection_made(self, transport: Any) -> None:
        """Refuse the connection if there are too many; see asyncio.Protocol."""
        super().connection_made(transport)
        self._behind_proxy = self.client is not None and self._guard.proxies.trust(self.client[0])
        most = self._guard.limits.connections
        if len(self.connections) > most:
            self._guard.metrics.connections_refused.inc()
            self.refuse(refusals.TOO_MANY_CONNECTIONS, f"this process serves {most} connections at a time")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request in work; see asyncio.Protocol."""
        super().connection_lost(exc)
        # Trap: uvicorn tells the latest request only. Another one would go on, and fail when it writes its answer.
        if self._ahead is not None and not self._ahead.response_complete:
            self._ahead.disconnected = True
            self._ahead.message_event.set()
        self._ahead = None

    def data_received(self, data: bytes) -> None:
        """Parse the data; see asyncio.Protocol."""
        if self.transport.is_closing():
            return
        self._fruitful = False
        self.parse(data)
        if self._fruitful:
            self._fruitless_bytes = 0
            return
        # Trap: the parser buffers a header until its end, wherever that is, and copies all of it for each piece.
        self._fruitless_bytes += len(data)
        if self._fruitless_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.refuse_unreadable(refusals.HEAD_TOO_LARGE, f"the headers are larger than {MAX_HEAD_BYTES} bytes")

    def parse(self, data: bytes) -> None:
        """Parse within the limits, and start the complete requests."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.ignore_upgrade(upgrade)
        except HttpParserError as error:
            former: Any = self.cycle
            is_tls = former is None and _TLS.startswith(data[: len(_TLS)])
            self.refuse_malformed(error, _TLS_DETAIL if is_tls else NOT_HTTP)

    def ignore_upgrade(self, upgrade: HttpParserUpgrade) -> None:
        """Do nothing, as a server may that supports none: the request is answered as any other."""

    def on_headers_complete(self) -> None:
        """Ignore trailers; see httptools."""
        self._fruitful = True
        if self._behind_proxy:
            self._guard.proxies.name_client(self.scope)
        former = self.cycle
        super().on_headers_complete()
        if len(self.pipeline) == 1:
            self._ahead = former
        self.headers = _UNREAD
        if self._guard.ending:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Append a piece of a body; see httptools."""
        self._fruitful = True
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Start the next request; see HttpToolsProtocol."""
        self._ahead = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        if self.pipeline and not self.transport.is_closing():
            # Trap: uvicorn resumes reading after each answer, and keeps any number of requests from a read.
            self.flow.pause_reading()

    def refuse_malformed(self, error: HttpParserError, detail: str) -> None:
        """Refuse what the parser has refused. Raises what is no fault of the client's."""
        # Trap: an exception in a callback, ours or uvicorn's, comes in the parser's own.
        if isinstance(error, HttpParserCallbackError) and not isinstance(
            error.__context__, HttpParserError | UnicodeError
        ):
            raise error
        self.refuse_unreadable(refusals.MALFORMED_REQUEST, detail)

    def refuse_unreadable(self, reason: Reason, detail: str) -> None:
        """Refuse what cannot be read as a request; the log has its sender, and nothing of it."""
        self._guard.add_unreadable(reason, detail, self.client[0] if self.client else None)
        self.refuse(reason, detail)

    def refuse(self, reason: Reason, detail: str) -> None:
        """Answer with a problem, if the client can match it to a request, and end the connection."""
        if not self._owes_answer:
            self.write(problem(reason, detail, close=True), self.server_state.default_headers)
        self.transport.close()

    def write(self, answer: Answer, default_headers: Headers) -> None:
        """Write a whole answer, bypassing ASGI."""
        parts = [_STATUS_LINES[answer.status]]
        for name, value in default_headers:
            parts += (name, b": ", value, b"\r\n")
        for name, value in answer.headers:
            parts += (name, b": ", value, b"\r\n")
        parts += (b"\r\n", answer.body)
        self.transport.write(b"".join(parts))

    def give_up(self) -> None:
        """Give up a request or answer whose client is too slow."""
        if self.holds_back:
            self.transport.abort()  # closing it would wait for the client to read
        elif self.in_headers or self.cycle.response_started:
            self.transport.close()
        else:
            self.body_timed_out()

    def body_timed_out(self) -> None:
        """Refuse a request whose body did not arrive in time and that is unanswered."""
        self.refuse(refusals.BODY_TIMEOUT, "the body took too long to arrive")
        # Its application must not answer as well.
        self.cycle.disconnected = True
        self.cycle.message_event.set()

    @property
    def _owes_answer(self) -> bool:
        """Whether the client would take a refusal for the answer, or a part of it, to an earlier request."""
        cycle = self.cycle
        if self.pipeline or cycle is None:
            return bool(self.pipeline)
        return not cycle.response_complete and (cycle.response_started or not cycle.more_body)
