"""uvicorn's HTTP protocol within the limits of every service, with a fast path for webhooks."""

import functools
import time
from typing import TYPE_CHECKING, Any, cast

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from bridge.http.ingress import RESERVED, TIMED_OUT
from bridge.http.webhook import PATHS
from openbsp.http import refusals
from openbsp.http.connections import NOT_HTTP, Connections
from openbsp.http.fast_path import END, MOST_BYTES, Exchange, FastPathProtocol
from openbsp.http.problems import CLOSE, Answer, Reason

if TYPE_CHECKING:
    from bridge.http.ingress import Ingress


class WebhookProtocol(FastPathProtocol):
    """Hands a webhook to the ingress as soon as it is complete, without a task, and writes the answer itself.

    A client sends the same head again and again. If a head was parsed and admitted before, and the body arrived whole
    with it, no parser is needed: see KnownHeads.

    A request that does not arrive in one read, is pipelined, or has another path goes through uvicorn's ASGI. So does
    every request of a client that does not read its answers, since ASGI waits for it.
    """

    def __init__(
        self, guard: Connections, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None
    ) -> None:
        """Start with nothing received; see FastPathProtocol."""
        super().__init__(guard, config, server_state, app_state, _loop)
        self._ingress: Ingress = cast("Any", self.app).webhooks
        self._fresh: RequestResponseCycle | None = None
        self._receiving = False
        self._memory = self._ingress.memory
        self._data = b""
        #: A head that asks for an upgrade, without that header.
        self._plain_head = b""
        #: Bytes received of an incomplete request.
        self._gathered = 0
        self.opened_at = time.monotonic()
        #: Whether its client has not sent a byte yet.
        self.is_silent = True
        self._half_closed = False
        self._known = self._ingress.known_heads

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress in the data read so far."""
        return self.cycle is None or self.cycle.response_complete

    def half_close(self) -> None:
        """Shut down the sending side of an idle connection, and keep reading.

        Trap: closing it makes its system reset the connection, and a request sent meanwhile would be lost unread. This
        way the event is kept, although it cannot be answered; the client sees an end without an answer, and may send it
        again.
        """
        if self.is_idle and not self.transport.is_closing() and not self._half_closed:
            self._half_closed = True
            self.transport.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop buffered data; see asyncio.Protocol."""
        super().connection_lost(exc)
        self._gather(0)

    def data_received(self, data: bytes) -> None:
        """Handle a webhook under a known head, or parse the data; see asyncio.Protocol."""
        if self._between:
            end = data.find(END, 0, MOST_BYTES) + len(END)
            known = self._known.get(data[:end])
            if known is not None and len(data) - end == known.length and self._is_free():
                token = self._ingress.authenticate(known.authorization)
                if token is not None:
                    self._unset_keepalive_if_required()
                    self.is_silent = False
                    self._fruitless_bytes = 0
                    cycle: Any = Exchange(self.server_state.default_headers)
                    self.cycle = cycle
                    self.scope = known.scope
                    self._ingress.answer_known(token, data[end:], functools.partial(self._respond, cycle))
                    return
        super().data_received(data)

    def parse(self, data: bytes) -> None:
        """Parse the data, and answer a webhook that is complete."""
        between = self._between
        self.is_silent = False
        self._receiving = True
        self._data = data
        try:
            super().parse(data)
        finally:
            self._receiving = False
            # Trap: a connection that is idle, or closed and not collected yet, would keep its last data.
            self._data = b""
            fresh, self._fresh = self._fresh, None
        if fresh is not None:
            if fresh.more_body or self.transport.is_closing():
                scope: Any = fresh.scope
                scope["state"][RESERVED] = self._ingress.reserve(scope["headers"])
                super()._start_asgi_task(fresh, self.app)
            else:
                scope = fresh.scope
                plain = self._ingress.answer(scope, bytes(fresh.body), functools.partial(self._respond, fresh))
                if plain and between and self._between and self.cycle is fresh and fresh.keep_alive:
                    self._known.learn(data, len(fresh.body), scope)
        # Data after the answer is discarded, and not counted.
        if self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete:
            self._gather(self._gathered + len(data))
        elif self._gathered:
            self._gather(0)

    def _gather(self, size: int) -> None:
        before, self._gathered = self._gathered, size
        if size > before:
            self._memory.add(size - before)
        elif size < before:
            self._memory.give(before - size)

    def on_response_complete(self) -> None:
        """Release the memory of a refused request, then start the next one; see HttpToolsProtocol."""
        if self.cycle.response_complete:
            self._gather(0)
        super().on_response_complete()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection for pending answers: a client may close its side after its request."""
        if self.pipeline and self.cycle.more_body:
            # The latest request stays incomplete; those before it are answered.
            self.pipeline.popleft()
            self.cycle = self.pipeline[0][0] if self.pipeline else self._ahead
            self._gather(0)
        cycle = self.cycle
        if cycle is None or cycle.more_body or (cycle.response_complete and not self.pipeline):
            return False
        # No request follows the latest one, and the connection ends with its answer.
        cycle.keep_alive = False
        return True

    def on_headers_complete(self) -> None:
        """Ignore an upgrade, as a server may that supports none; see httptools."""
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            return
        # Trap: httptools treats data after such a head as not HTTP. It is given the head again, without the header.
        method, version = self.parser.get_method(), self.parser.get_http_version()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version.encode())]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self._plain_head = b"\r\n".join([*lines, b"", b""])

    def on_message_complete(self) -> None:
        """Handle a complete request; see httptools."""
        if not self._plain_head:
            super().on_message_complete()

    def ignore_upgrade(self, upgrade: HttpParserUpgrade | None) -> None:
        """Handle the request as one without the header; see GuardedProtocol."""
        while upgrade is not None:
            head, self._plain_head = self._plain_head, b""
            if self.parser.get_method() == b"CONNECT":
                # Trap: CONNECT is an upgrade by itself, without the header, and would loop.
                self.refuse_unreadable(refusals.MALFORMED_REQUEST, NOT_HTTP)
                return
            self._data = head + self._data[upgrade.args[0] :]
            upgrade = None
            try:
                self.parser.feed_data(self._data)
            except HttpParserUpgrade as another:
                upgrade = another
            except HttpParserError as error:
                self.refuse_malformed(error, NOT_HTTP)

    def refuse(self, reason: Reason, detail: str) -> None:
        """Refuse what cannot be read as a request, unless there is no way left to answer; see GuardedProtocol."""
        if self._half_closed:
            self.transport.close()
        else:
            super().refuse(reason, detail)

    def body_timed_out(self) -> None:
        """Have the ingress refuse a webhook, which it counts and logs; see GuardedProtocol."""
        scope: Any = self.scope
        if scope["path"] in PATHS:
            scope["state"][TIMED_OUT] = True
            self.cycle.message_event.set()
        else:
            super().body_timed_out()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        scope = cycle.scope
        if (
            self._receiving
            and scope["path"] in PATHS
            and scope["method"] == "POST"
            and not cycle.waiting_for_100_continue
            and not self.flow.write_paused
        ):
            self._fresh = cycle
        else:
            super()._start_asgi_task(cycle, app)

    def _respond(self, cycle: RequestResponseCycle, answer: Answer) -> None:
        if cycle.disconnected or self.transport.is_closing():
            return
        if self._half_closed:
            cycle.response_complete = True
            self.transport.close()
            return
        if not cycle.keep_alive and not answer.close:
            answer.headers.append(CLOSE)
        cycle.keep_alive = cycle.keep_alive and not answer.close
        cycle.response_started = cycle.response_complete = True
        self.write(answer, cycle.default_headers)
        if not cycle.keep_alive:
            self.transport.close()
        if cycle.keep_alive and not (self.pipeline or self._gathered or self.flow.read_paused):
            self._await_next()
        else:
            self.on_response_complete()
