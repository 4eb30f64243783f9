"""Connections to the views: as many as may be, none kept for a client that never finishes, nothing unbounded read.

uvicorn by itself waits for ever for the rest of a request, and reads headers without end.
"""

import asyncio
import functools
import time
from collections import deque
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streams.metrics import Metrics
from streams.views.http.problems import ProblemError, problem
from streams.views.http.reasons import HEAD_TOO_LARGE, MALFORMED_REQUEST, TOO_MANY_CONNECTIONS

#: Longest request line and headers together, and longest headers after a chunked body; as long as the bridge takes.
MOST_HEAD_BYTES = 64 * 1024

_LOOK_EVERY_S = 0.5
#: Where the headers go that a chunked body ends with: nobody reads them, and there may be any number.
_UNREAD: Any = deque(maxlen=0)


class _State(Protocol):
    """What uvicorn's server shares with its connections."""

    connections: set[Any]


class Connections:
    """The limits that hold for all connections of a server, and what has become of those beyond them."""

    def __init__(self, most: int, request_timeout_s: float, metrics: Metrics) -> None:
        """Allow `most` connections; each may take so many seconds to send a whole request."""
        self.most = most
        self.metrics = metrics
        self._request_timeout_s = request_timeout_s
        self._incomplete: dict[Any, tuple[object, float]] = {}

    @property
    def protocol(self) -> Any:
        """What uvicorn makes a connection with (its setting `http`)."""
        return functools.partial(_GuardedProtocol, self)

    async def watch(self, state: _State) -> None:
        """Give up those that are too slow, for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.look(state.connections, time.monotonic())

    def look(self, connections: Iterable[Any], now: float) -> None:
        """Close those that have waited for their client for too long; `now` is time.monotonic()."""
        incomplete = {}
        for connection in list(connections):
            request = connection.incomplete
            if request is None:
                continue
            former, since = self._incomplete.get(connection, (None, now))
            since = since if former is request else now
            incomplete[connection] = (request, since)
            if now - since > self._request_timeout_s:
                self._give_up(connection)
        self._incomplete = incomplete

    def _give_up(self, connection: Any) -> None:
        if not connection.transport.is_closing():
            self.metrics.clients_given_up.inc()
        if connection.holds_back:
            connection.transport.abort()  # closing it would wait for the client to read
        else:
            connection.transport.close()


class _GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which refuses what is too much or no HTTP as everything else is refused."""

    def __init__(self, limits: Connections, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limits = limits
        #: What came since the last read that completed a head or had some of a body in it.
        self._fruitless_bytes = 0
        self._fruitful = False

    @property
    def holds_back(self) -> bool:
        """Whether there are answers that the client does not read; event streams end such clients themselves."""
        if self.transport.is_closing():
            return True
        cycle = self.cycle
        # Nothing else is sent without its length.
        streams = cycle is not None and cycle.chunked_encoding is True and not cycle.response_complete
        return self.flow.write_paused and not streams

    @property
    def incomplete(self) -> object | None:
        """What identifies the request whose rest has not come yet, None if there is none.

        Or the answers that the client does not read.
        """
        if self.holds_back:
            return self.flow
        scope: Any = self.scope
        if scope is None:
            return self  # nothing has come yet
        if "path" not in scope:
            return self.scope  # the path is known when the headers are complete
        # Trap: a line feed too many ends uvicorn's limit for idle connections, and begins no request.
        waits = self.cycle.more_body or self.cycle.response_complete
        idle = self.timeout_keep_alive_task is not None
        return self.scope if waits and not idle else None

    def connection_made(self, transport: Any) -> None:
        """See asyncio.Protocol."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.most:
            self._limits.metrics.connections_refused.inc()
            self._refuse(ProblemError(TOO_MANY_CONNECTIONS, f"this worker serves {self._limits.most} connections"))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self.transport.is_closing():
            return
        self._fruitful = False
        super().data_received(data)
        if self._fruitful:
            self._fruitless_bytes = 0
            return
        # Trap: the parser gathers a header until its end, wherever that is, and copies all of it for each piece.
        self._fruitless_bytes += len(data)
        if self._fruitless_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(ProblemError(HEAD_TOO_LARGE, f"they may have {MOST_HEAD_BYTES} bytes"))

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._fruitful = True
        super().on_headers_complete()
        self.headers = _UNREAD

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._fruitful = True
        super().on_body(body)

    def on_response_complete(self) -> None:
        """See HttpToolsProtocol."""
        super().on_response_complete()
        if self.pipeline and not self.transport.is_closing():
            # Trap: uvicorn reads on after each answer, and keeps whatever number of requests comes in a read.
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:
        """See HttpToolsProtocol."""
        del msg
        self._refuse(ProblemError(MALFORMED_REQUEST, "what came is no HTTP request"))

    def _refuse(self, error: ProblemError) -> None:
        if not self._owes_answer:
            answer = problem(error, {"Connection": "close"})
            head = b"".join(b"%b: %b\r\n" % header for header in answer.raw_headers)
            status = HTTPStatus(error.reason.status)
            line = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
            self.transport.write(line + head + b"\r\n" + answer.body)
        self.transport.close()

    @property
    def _owes_answer(self) -> bool:
        """Whether the client would take a refusal for the answer, or a part of it, to an earlier request."""
        cycle = self.cycle
        if self.pipeline or cycle is None:
            return bool(self.pipeline)
        return not cycle.response_complete and (cycle.response_started or not cycle.more_body)
