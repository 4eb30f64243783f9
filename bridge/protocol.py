"""uvicorn's HTTP protocol, with a short way for webhooks and a limit on what comes before a body."""

import functools
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from bridge.answers import Answer
from bridge.webhook import PATH

if TYPE_CHECKING:
    from bridge.ingress import Ingress

#: Longest request line and headers together. Ours have a few hundred bytes; common servers take 8 to 64 KiB.
MAX_HEAD_BYTES = 64 * 1024

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in HTTPStatus
    if status >= 200  # noqa: PLR2004
}
#: Where the headers go that a chunked body ends with: nobody reads them, and there may be any number.
_UNREAD: Any = deque(maxlen=0)
_NO_REQUEST = {"path": None}
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem+json\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%b"
)
_HEAD_TOO_LARGE_BODY = (
    b'{"type":"about:blank","title":"Request Header Fields Too Large","status":431,'
    b'"detail":"request line and headers are larger than 64 KiB"}'
)


class WebhookProtocol(HttpToolsProtocol):
    """Hands a webhook to the ingress as soon as all of it is there, without a task, and writes the answer itself.

    Whatever does not come whole in one read, is pipelined, or goes elsewhere takes uvicorn's way through ASGI.
    """

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        """Start with nothing received; uvicorn's arguments."""
        super().__init__(config, server_state, app_state, _loop)
        self._ingress: Ingress = cast("Any", self.app).webhooks
        self._fresh: RequestResponseCycle | None = None
        self._receiving = False
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parse what came; see asyncio.Protocol."""
        self._receiving = True
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
        elif "path" not in (cast("dict[str, Any] | None", self.scope) or _NO_REQUEST):
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.write(_HEAD_TOO_LARGE % (len(_HEAD_TOO_LARGE_BODY), _HEAD_TOO_LARGE_BODY))
                self.transport.close()

    def on_headers_complete(self) -> None:
        """Forget what counts for headers only; see httptools."""
        self._head_bytes = 0
        super().on_headers_complete()
        self.headers = _UNREAD

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        scope = cycle.scope
        if (
            self._receiving
            and scope["path"] == PATH
            and scope["method"] == "POST"
            and not cycle.waiting_for_100_continue
            and not self.parser.should_upgrade()
        ):
            self._fresh = cycle
        else:
            super()._start_asgi_task(cycle, app)

    def _respond(self, cycle: RequestResponseCycle, answer: Answer) -> None:
        if cycle.disconnected or self.transport.is_closing():
            return
        parts = [_STATUS_LINES[answer.status]]
        for name, value in (*cycle.default_headers, *answer.headers):
            parts += (name, b": ", value, b"\r\n")
        if answer.close or not cycle.keep_alive:
            cycle.keep_alive = False
            if not answer.close:
                parts.append(b"connection: close\r\n")
        parts += (b"\r\n", answer.body)
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"".join(parts))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()
