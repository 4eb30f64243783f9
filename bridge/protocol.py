"""HTTP connections that are not kept for clients that never finish."""

import time
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class TimedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which waits for ever for headers, with the time since when a request is incomplete."""

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

    def overdue(self, now: float, header_timeout_s: float, message_timeout_s: float) -> bool:
        """Tell whether the client has taken too long for its headers, or for all of its request."""
        if self.incomplete_since is None:
            return False
        # The scope gets its path when the headers are complete; before the first request there is none.
        in_headers = self.scope is None or "path" not in self.scope
        return now - self.incomplete_since > (header_timeout_s if in_headers else message_timeout_s)


def close_overdue(connections: Iterable[Any], header_timeout_s: float, message_timeout_s: float) -> int:
    """Close the connections whose clients are too slow, and return how many that were."""
    now = time.monotonic()
    closed = 0
    for connection in list(connections):
        if isinstance(connection, TimedProtocol) and connection.overdue(now, header_timeout_s, message_timeout_s):
            connection.transport.close()
            closed += 1
    return closed
