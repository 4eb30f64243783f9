"""uvicorn's HTTP protocol with a fast path, without parser, scope and task, for requests whose head is known.

A client sends the same head again and again, and the result of parsing depends on the bytes only. Which requests go the
fast path, and which heads are known, is up to each service.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from openbsp.http.connections import Connections, GuardedProtocol
from openbsp.http.problems import Headers

if TYPE_CHECKING:
    import asyncio

#: How a head ends.
END = b"\r\n\r\n"
#: A longer head is not stored.
MOST_BYTES = 2048
#: At this many all are dropped. Only clients with a valid token ever add one.
_MOST_HEADS = 1024
#: With one of these headers a body is encoded, or the connection changes afterwards.
_OF_TRANSFER = frozenset({b"expect", b"te", b"trailer", b"transfer-encoding", b"upgrade"})
#: The only value of `Connection` that a stored head may have.
_KEEP_ALIVE = b"keep-alive"

Known = TypeVar("Known")


def may_repeat(headers: Mapping[bytes, bytes], telling: Collection[bytes]) -> bool:
    """Whether a head with these headers may be stored: it has none of those that are `telling` for the service."""
    return (
        _OF_TRANSFER.isdisjoint(headers)
        and not any(name in headers for name in telling)
        and headers.get(b"connection", _KEEP_ALIVE).lower() == _KEEP_ALIVE
    )


def remember(heads: dict[bytes, Known], head: bytes, known: Known) -> None:
    """Store what is known of a head."""
    if len(heads) >= _MOST_HEADS:
        heads.clear()
    heads[head] = known


class _Nothing:
    """An event that nothing waits for."""

    def set(self) -> None:
        """Do nothing."""


class Exchange:
    """A request that goes the fast path: the part of RequestResponseCycle that a connection uses."""

    __slots__ = ("default_headers", "disconnected", "keep_alive", "response_complete", "response_started")

    more_body = False
    chunked_encoding = False
    message_event = _Nothing()

    def __init__(self, default_headers: Headers) -> None:
        """Start unanswered."""
        self.default_headers = default_headers
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False
        self.response_started = False


class FastPathProtocol(GuardedProtocol):
    """Knows whether a request can go the fast path, and has one timer for idle time instead of one for each answer."""

    def __init__(
        self, guard: Connections, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None
    ) -> None:
        """Start with nothing received; see GuardedProtocol."""
        super().__init__(guard, config, server_state, app_state, _loop)
        #: Whether the parser has been given whole requests only, so that the next byte begins another one.
        self._between = True
        #: The loop's time since when no request is in progress, while `timeout_keep_alive_task` is set.
        self.idle_since = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None

    def _is_free(self) -> bool:
        """Whether a request can be answered at once."""
        cycle = self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
            and not self._guard.ending
            and not self.transport.is_closing()
        )

    def on_message_begin(self) -> None:
        """Start another request; see httptools."""
        self._between = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Handle a complete request; see httptools."""
        # Trap: the parser treats data after a head that asks for an upgrade as not HTTP.
        self._between = not self.parser.should_upgrade()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Continue with the next request; see HttpToolsProtocol."""
        super().on_response_complete()
        self.idle_since = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer; see asyncio.Protocol."""
        super().connection_lost(exc)
        if self._idle_timer is not None:
            self._idle_timer.cancel()

    def _await_next(self) -> None:
        """Do what `on_response_complete` does if nothing else was received, without a timer for each answer."""
        self.server_state.total_requests += 1
        self.idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._look_whether_idle)
        self.timeout_keep_alive_task = self._idle_timer

    def _look_whether_idle(self) -> None:
        timer, self._idle_timer = self._idle_timer, None
        if self.timeout_keep_alive_task is not timer:
            return  # a request is in progress, or uvicorn's timer runs; the next answer starts this one again
        left = self.idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self._idle_timer = self.loop.call_later(left, self._look_whether_idle)
        else:
            self.timeout_keep_alive_handler()

    def _unset_keepalive_if_required(self) -> None:
        task, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
        if task is not None and task is not self._idle_timer:
            task.cancel()
