"""uvicorn's HTTP protocol, with a short way for webhooks and a limit on what comes before a body."""

import functools
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from bridge.http import answers, reasons
from bridge.http.answers import Answer
from bridge.http.webhook import PATH
from openbsp.http.problems import Reason

if TYPE_CHECKING:
    from bridge.http.ingress import Ingress

#: Longest request line and headers together, and longest headers after a chunked body. Ours have a few hundred bytes;
#: common servers take 8 to 64 KiB.
MAX_HEAD_BYTES = 64 * 1024

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in HTTPStatus
    if status >= 200  # noqa: PLR2004
}
#: Where the headers go that a chunked body ends with: nobody reads them, and there may be any number.
_UNREAD: Any = deque(maxlen=0)


class WebhookProtocol(HttpToolsProtocol):
    """Hands a webhook to the ingress as soon as all of it is there, without a task, and writes the answer itself.

    Whatever does not come whole in one read, is pipelined, or goes elsewhere takes uvicorn's way through ASGI; so does
    everything of a client that does not read its answers, since that way waits for it.
    """

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        """Start with nothing received; uvicorn's arguments."""
        super().__init__(config, server_state, app_state, _loop)
        self._ingress: Ingress = cast("Any", self.app).webhooks
        self._fresh: RequestResponseCycle | None = None
        self._receiving = False
        #: What came since the last read that completed a head or had some of a body in it.
        self._fruitless_bytes = 0
        self._fruitful = False

    def data_received(self, data: bytes) -> None:
        """Parse what came; see asyncio.Protocol."""
        self._receiving = True
        self._fruitful = False
        try:
            super().data_received(data)
        finally:
            self._receiving = False
            fresh, self._fresh = self._fresh, None
        if fresh is not None:
            if fresh.more_body or self.transport.is_closing():
                super()._start_asgi_task(fresh, self.app)
            else:
                self._ingress.answer(
                    cast("Any", fresh.scope), bytes(fresh.body), functools.partial(self._respond, fresh)
                )
        if self._fruitful:
            self._fruitless_bytes = 0
        else:
            # Trap: the parser gathers a header until its end, wherever that is, and copies all of it for each piece.
            self._fruitless_bytes += len(data)
            if self._fruitless_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._refuse(reasons.HEAD_TOO_LARGE, f"the headers are larger than {MAX_HEAD_BYTES} bytes")

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP; uvicorn's text says no more."""
        self._refuse(reasons.MALFORMED_REQUEST, msg)

    def on_headers_complete(self) -> None:
        """Keep no headers that come later; see httptools."""
        self._fruitful = True
        super().on_headers_complete()
        self.headers = _UNREAD

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body; see httptools."""
        self._fruitful = True
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Go on with the next request; see HttpToolsProtocol."""
        super().on_response_complete()
        if self.pipeline and not self.transport.is_closing():
            # Trap: uvicorn reads on after each answer, and keeps whatever number of requests comes in a read.
            self.flow.pause_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        scope = cycle.scope
        if (
            self._receiving
            and scope["path"] == PATH
            and scope["method"] == "POST"
            and not cycle.waiting_for_100_continue
            and not self.parser.should_upgrade()
            and not self.flow.write_paused
        ):
            self._fresh = cycle
        else:
            super()._start_asgi_task(cycle, app)

    def _refuse(self, reason: Reason, detail: str) -> None:
        # Trap: with an answer still to come for an earlier request, the client would take this one for that.
        earlier = self.pipeline or (self.cycle and not (self.cycle.response_complete or self.cycle.more_body))
        if not earlier:
            answer = answers.problem(reason, detail, close=True)
            self.transport.write(_bytes_of(answer, self.server_state.default_headers))
        self.transport.close()

    def _respond(self, cycle: RequestResponseCycle, answer: Answer) -> None:
        if cycle.disconnected or self.transport.is_closing():
            return
        if not cycle.keep_alive and not answer.close:
            answer.headers.append(answers.CLOSE)
        cycle.keep_alive = cycle.keep_alive and not answer.close
        cycle.response_started = cycle.response_complete = True
        self.transport.write(_bytes_of(answer, cycle.default_headers))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()


def _bytes_of(answer: Answer, default_headers: answers.Headers) -> bytes:
    parts = [_STATUS_LINES[answer.status]]
    for name, value in default_headers:
        parts += (name, b": ", value, b"\r\n")
    for name, value in answer.headers:
        parts += (name, b": ", value, b"\r\n")
    parts += (b"\r\n", answer.body)
    return b"".join(parts)
