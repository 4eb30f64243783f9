"""Which connections are accepted and read: as many as descriptors and memory allow. The others wait.

A connection that is not accepted waits in the listening socket's backlog, which outlives this process and is shared
with its siblings; unread data waits in its own socket buffer. Neither uses memory of the process.
"""

import asyncio
import errno
import logging
import resource
import socket
import time
from collections import deque
from collections.abc import Callable, Collection
from collections.abc import Set as AbstractSet
from typing import Any

from bridge.delivery.memory import Memory
from bridge.metrics import Metrics
from openbsp.log import event

_log = logging.getLogger(__name__)

#: Descriptors reserved for the spool, Kafka, the log and the rest of the process.
RESERVED_DESCRIPTORS = 128
#: Connections that may be accepted before their memory needs are known, however little memory is left.
_ALWAYS_UNKNOWN = 4
#: What one of those can add before the others are paused: one read of its socket. Its head gives the size of the rest,
#: which is counted as soon as the head was read.
_UNKNOWN_BYTES = 256 * 1024
#: If too many connections are open, one that received nothing for this long is closed to make room.
_SILENT_FOR_S = 1.0
#: A connection without a request for this long counts as idle.
_UNKNOWN_FOR_S = 0.1
_REST_S = 0.002
_LOOK_AGAIN_S = 0.01
#: How long the last connections are accepted, of clients that go on coming: senders wait for 5 s.
_BACKLOG_S = 2.0
#: The kernel does not report when descriptors are free again.
_TRY_AGAIN_S = 0.1
#: Idle connections to close at a time, if too many are kept alive.
_CLOSED_AT_ONCE = 32
_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
#: How long /readyz names a limit after it was reached.
_NAMED_FOR_S = 30.0
_LOGGED_EVERY_S = 30.0

DESCRIPTORS = "descriptors"
CONNECTIONS = "connections"
MEMORY = "memory"

_RESTING = "resting"  # not a limit: the heads of accepted connections are read first

_ADVICE = {
    DESCRIPTORS: "no file descriptor is left: raise LimitNOFILE (ulimit -n) or BRIDGE_WORKERS",
    CONNECTIONS: "BRIDGE_CONNECTIONS is reached: raise it, or BRIDGE_WORKERS",
    MEMORY: "events in progress have reached BRIDGE_MEMORY_BYTES: raise it, or BRIDGE_WORKERS",
}


def most_connections(wanted: int) -> int:
    """Raise the limit of descriptors as far as needed and allowed; return how many connections it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < needed:
            most = max(1, soft - RESERVED_DESCRIPTORS)
            _log.warning(
                "the limit of %d descriptors allows %d connections, not %d: raise it",
                soft,
                most,
                wanted,
                extra=event("gate.few_descriptors"),
            )
            return most
    return wanted


class Acceptor:
    """Accepts connections of a listening socket while there is room for them."""

    def __init__(self, most: int, memory: Memory, metrics: Metrics) -> None:
        """Accept up to `most` connections at a time. Nothing is accepted before `open`."""
        self._most = most
        self._memory = memory
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._listener: socket.socket | None = None
        self._new_protocol: Callable[[], asyncio.Protocol]
        self._connections: AbstractSet[Any] = frozenset()
        self._coming: set[asyncio.Task[Any]] = set()
        #: When connections were accepted whose memory needs are still unknown.
        self._unknown: deque[tuple[float, Any]] = deque()
        #: Connections paused although no request of theirs is in progress, in the order in which they resume.
        self._paused: deque[Any] = deque()
        #: Why nothing is accepted now: a limit, or _RESTING; None while connections are accepted.
        self._closed_for: str | None = None
        self._reached: dict[str, float] = {}
        self._logged: dict[str, float] = {}
        memory.on_crowded = self._crowded

    @property
    def reached(self) -> Collection[str]:
        """The limits that were reached in the last half minute."""
        since = time.monotonic() - _NAMED_FOR_S
        return sorted(limit for limit, at in self._reached.items() if at > since or limit == self._closed_for)

    def open(
        self, listener: socket.socket, connections: AbstractSet[Any], new_protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        """Start accepting. `connections` is the live set of open ones."""
        self._listener, self._connections, self._new_protocol = listener, connections, new_protocol
        # Accepted sockets inherit this from the listening one: a small answer must not be delayed.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop.add_reader(listener, self._accept)

    async def close(self) -> None:
        """Accept what is in the backlog, then nothing more; paused connections are read again."""
        if self._listener is not None:
            await self._accept_backlog()
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        while self._paused:
            self._read_on(self._paused.popleft())
        if self._coming:
            await asyncio.wait(self._coming)

    async def _accept_backlog(self) -> None:
        # Trap: what nobody has accepted when the last listening socket is closed is reset.
        deadline = time.monotonic() + _BACKLOG_S
        while time.monotonic() < deadline:
            # A limit may end meanwhile, and paused connections come first: see `_look_again`.
            if self._closed_for in {None, _RESTING} and not self._paused:
                self._closed_for = None
                self._accept()
                if self._is_open:
                    return
            await asyncio.sleep(_REST_S)

    @property
    def _is_open(self) -> bool:
        return self._closed_for is None

    def _accept(self) -> None:
        while self._listener is not None and self._closed_for is None:
            if self._memory.crowded:
                self._shut(MEMORY)
                return
            if len(self._connections) + len(self._coming) >= self._most:
                self._close_idle()
                self._shut(CONNECTIONS)
                return
            if len(self._coming) + self._count_unknown() >= self._may_be_unknown():
                self._rest()
                return
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_DESCRIPTORS:
                    raise
                # Trap: the kernel reports it again at once, for as long as the connection waits.
                self._close_idle()
                self._shut(DESCRIPTORS)
                return
            accepted.setblocking(False)  # noqa: FBT003 the socket's own signature
            task = self._loop.create_task(self._connect(accepted))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            _, connection = await self._loop.connect_accepted_socket(self._new_protocol, accepted)
            self._unknown.append((time.monotonic() + _UNKNOWN_FOR_S, connection))
        except OSError as error:
            accepted.close()
            _log.warning("a connection could not be served: %s", error, extra=event("gate.not_served"))

    def _may_be_unknown(self) -> int:
        return max(_ALWAYS_UNKNOWN, (self._memory.limit - self._memory.held) // _UNKNOWN_BYTES)

    def _count_unknown(self) -> int:
        now = time.monotonic()
        self._unknown = deque((until, each) for until, each in self._unknown if each.is_idle and until > now)
        return len(self._unknown)

    def _rest(self) -> None:
        """Read the heads of the connections accepted first: they say how much memory they need."""
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._closed_for = _RESTING
            self._loop.call_later(_REST_S, self._look_again)

    def _crowded(self) -> None:
        """Pause reading from clients without a request in progress."""
        for connection in self._connections:
            if connection.is_idle and not connection.flow.read_paused:
                connection.flow.pause_reading()
                self._paused.append(connection)
        self._shut(MEMORY)

    def _shut(self, limit: str) -> None:
        if self._listener is None:
            return
        now = time.monotonic()
        self._reached[limit] = now
        self._metrics.accept_pauses.labels(limit).inc()
        if now >= self._logged.get(limit, 0.0):
            self._logged[limit] = now + _LOGGED_EVERY_S
            reached = event("gate.limit_reached", limit=limit)
            _log.warning("new connections wait in the backlog: %s", _ADVICE[limit], extra=reached)
        if self._closed_for is None:
            # Otherwise a check is due already.
            self._loop.remove_reader(self._listener)
            self._loop.call_later(_TRY_AGAIN_S if limit == DESCRIPTORS else _LOOK_AGAIN_S, self._look_again)
        self._closed_for = limit

    def _look_again(self) -> None:
        if self._listener is None:
            return
        limit = self._closed_for
        if self._memory.crowded:
            self._reached[MEMORY] = time.monotonic()
        full = limit == CONNECTIONS and len(self._connections) >= self._most
        if full:
            # Those that were busy when the limit was reached may be idle by now, and would be kept for long.
            self._close_idle()
        if self._memory.crowded or full:
            self._loop.call_later(_LOOK_AGAIN_S, self._look_again)
            return
        self._closed_for = None
        self._count_unknown()
        while self._paused and len(self._unknown) < self._may_be_unknown():
            self._read_on(self._paused.popleft())
        if self._paused:
            self._closed_for = _RESTING
            self._loop.call_later(_REST_S, self._look_again)
        else:
            self._loop.add_reader(self._listener, self._accept)

    def _read_on(self, connection: Any) -> None:
        if connection in self._connections and not connection.transport.is_closing():
            connection.flow.resume_reading()
            self._unknown.append((time.monotonic() + _UNKNOWN_FOR_S, connection))

    def _close_idle(self) -> None:
        """Close the connections that have been idle the longest, if any: first those that never sent a byte.

        Clients that open connections and send nothing must not take those of clients that have something to send.
        """
        silent_since = time.monotonic() - _SILENT_FOR_S
        silent = [each for each in self._connections if each.is_silent and each.opened_at < silent_since]
        silent.sort(key=lambda each: each.opened_at)
        idle = [each for each in self._connections if each.is_idle and each.timeout_keep_alive_task is not None]
        idle.sort(key=lambda each: each.idle_since)
        for connection in [*silent, *idle][:_CLOSED_AT_ONCE]:
            connection.transport.close()
