"""Connections are not kept for clients that never finish: uvicorn by itself waits for ever."""

from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: In the state of a request's scope: its client was too slow, and what it still sends is not read any more.
TIMED_OUT = "timed_out"


class SlowClients:
    """Looks at all connections now and then. That costs a request nothing, and is as exact as it is called often."""

    def __init__(self, header_timeout_s: float, body_timeout_s: float) -> None:
        """Give clients so many seconds for their headers, and for the body after that."""
        self._header_timeout_s = header_timeout_s
        self._message_timeout_s = header_timeout_s + body_timeout_s
        self._incomplete: dict[HttpToolsProtocol, tuple[object, float]] = {}

    def look(self, connections: Iterable[Any], now: float) -> None:
        """Give up the requests that are incomplete for too long; `now` is time.monotonic().

        If such a request can still be answered, the application is made to do so.
        """
        incomplete = {}
        for connection in list(connections):
            if not isinstance(connection, HttpToolsProtocol):
                continue
            request = _incomplete_request(connection)
            if request is None:
                continue
            former, since = self._incomplete.get(connection, (None, now))
            since = since if former is request else now
            incomplete[connection] = (request, since)
            in_headers = request is connection or "path" not in connection.scope
            if now - since > (self._header_timeout_s if in_headers else self._message_timeout_s):
                _give_up(connection, in_headers=in_headers)
        self._incomplete = incomplete


def _incomplete_request(connection: HttpToolsProtocol) -> object | None:
    """Return what identifies the request that a connection waits for the rest of, None if there is none.

    Or the answers that it waits to be rid of.
    """
    if connection.flow.write_paused:
        return connection.flow
    scope: Any = connection.scope
    if scope is None:
        return connection  # nothing has come yet
    if "path" not in scope:
        return connection.scope  # the path is known when the headers are complete
    # Trap: a line feed too many ends uvicorn's limit for idle connections, and begins no request.
    waits = connection.cycle.more_body or connection.cycle.response_complete
    idle = connection.timeout_keep_alive_task is not None
    return connection.scope if waits and not idle else None


def _give_up(connection: HttpToolsProtocol, *, in_headers: bool) -> None:
    if connection.flow.write_paused:
        connection.transport.abort()  # closing it would wait for the client to read
    elif in_headers or connection.cycle.response_started:
        connection.transport.close()
    else:
        connection.scope["state"][TIMED_OUT] = True
        connection.cycle.message_event.set()
