"""HTTP connections that are not kept for clients that never finish."""

import time
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: In the state of a request's scope: its client was too slow, and what it still sends is not read any more.
TIMED_OUT = "timed_out"


class TimedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which waits for ever, with the time since when a request is incomplete."""

    incomplete_since: float | None = None

    def connection_made(self, transport: Any) -> None:
        """See asyncio. A connection on which nothing comes is an incomplete request as well."""
        super().connection_made(transport)
        self.incomplete_since = time.monotonic()

    def on_message_begin(self) -> None:
        """See httptools."""
        super().on_message_begin()
        self.incomplete_since = time.monotonic()

    def on_message_complete(self) -> None:
        """See httptools."""
        super().on_message_complete()
        self.incomplete_since = None

    def end_if_overdue(self, now: float, header_timeout_s: float, body_timeout_s: float) -> None:
        """Give up a client that takes too long. If its request can still be answered, the application is to do it."""
        if self.incomplete_since is None:
            return
        age = now - self.incomplete_since
        # The scope gets its path when the headers are complete; before the first request there is none.
        scope: Any = self.scope
        if scope is None or "path" not in scope:
            if age > header_timeout_s:
                self.transport.close()
        elif age > header_timeout_s + body_timeout_s:
            self.incomplete_since = None
            if self.cycle.response_started:
                self.transport.close()
            else:
                scope["state"][TIMED_OUT] = True
                self.cycle.message_event.set()


def end_overdue(connections: Iterable[Any], header_timeout_s: float, body_timeout_s: float) -> None:
    """Give up all clients that take too long for their headers, or for their body after that."""
    now = time.monotonic()
    for connection in list(connections):
        if isinstance(connection, TimedProtocol):
            connection.end_if_overdue(now, header_timeout_s, body_timeout_s)
