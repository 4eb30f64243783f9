"""uvicorn's HTTP protocol within the limits of every service, with a fast path for GETs that cost little."""

from typing import TYPE_CHECKING, Any, cast

from openbsp.http.connections import Connections
from openbsp.http.fast_path import END, MOST_BYTES, Exchange, FastPathProtocol, may_repeat, remember
from streams.views.access import HOP, SYNC, WAIT, authorization_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from streams.views.http.reads import Reads

_METHOD = b"GET "
_VERSION = b" HTTP/1.1\r\n"

#: With one of these headers there is a body, or the answer depends on more than path and token. `traceparent` never
#: repeats.
_TELLING = frozenset({b"content-length", b"if-none-match", b"traceparent", HOP, SYNC, WAIT})
#: The scope of an answered request, as far as a connection uses it.
_SCOPE: Any = {"path": "/"}


class ReadProtocol(FastPathProtocol):
    """Answers a GET that costs little without parser and task, if its head differs from a former one in the path only.

    A request that does not arrive in one read, is pipelined, or is any other goes through uvicorn's ASGI. So does every
    request of a client that does not read its answers, since ASGI waits for it.
    """

    def __init__(
        self, guard: Connections, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None
    ) -> None:
        """Start with nothing received; see FastPathProtocol."""
        super().__init__(guard, config, server_state, app_state, _loop)
        self._reads: Reads = cast("Any", self.app).reads
        self._known = self._reads.known_heads

    def data_received(self, data: bytes) -> None:
        """Answer a GET that costs little under a known head, or parse the data; see asyncio.Protocol."""
        if self._between and data.startswith(_METHOD) and self._is_free():
            end = data.find(_VERSION, len(_METHOD), MOST_BYTES)
            authorization = self._known.get(data[end:]) if end > 0 else None
            if authorization is not None:
                answer = self._reads.answer(data[len(_METHOD) : end], authorization)
                if answer is not None:
                    self._unset_keepalive_if_required()
                    self._fruitless_bytes = 0
                    cycle: Any = Exchange(self.server_state.default_headers)
                    cycle.response_started = cycle.response_complete = True
                    self.cycle, self.scope = cycle, _SCOPE
                    self.write(answer, cycle.default_headers)
                    self._await_next()
                    return
        super().data_received(data)

    def parse(self, data: bytes) -> None:
        """Parse the data, and remember its head; see GuardedProtocol."""
        between, before = self._between, self.cycle
        super().parse(data)
        cycle = self.cycle
        if between and self._between and cycle is not before and not self.pipeline:
            self._learn(data, cycle)

    def _learn(self, data: bytes, cycle: "RequestResponseCycle") -> None:
        end = data.find(_VERSION, 0, MOST_BYTES)
        if end < 0 or len(data) > MOST_BYTES or not data.startswith(_METHOD) or data.find(END) + len(END) != len(data):
            return
        if data[end:] in self._known:
            return
        scope: Mapping[str, Any] = cycle.scope
        headers = dict(scope["headers"])
        if not may_repeat(headers, _TELLING):
            return
        authorization = authorization_of(scope)
        if authorization is not None and self._reads.access.authenticate(authorization) is not None:
            remember(self._known, data[end:], authorization)
