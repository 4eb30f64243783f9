"""Server-Sent Events: conversations as they change, from all workers, to one client.

    begin      discard earlier events; the current state follows, then `ready`
    ready      everything up to here has been sent; from here on events have ids
    waiting    partitions have no ready worker; `ready` follows when all have, after the changes in between
    too_slow   the client reads too slowly and is disconnected; it may reconnect with its last id

and those of `subscription`. Each worker serves its own partitions; the one that the client is connected to relays the
events of the others.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct
from starlette.types import Message, Receive, Scope, Send

from avro.jsontext import encode
from openbsp.backoff import Backoff
from openbsp.http.refusals import NOT_FOUND
from openbsp.http.tokens.token_set import Token
from streams.metrics import Metrics
from streams.views.access import Reader, not_found
from streams.views.cluster.peers import Peers
from streams.views.live import positions
from streams.views.live.backlog import Backlog
from streams.views.live.relay import Relay
from streams.views.live.subscription import (
    CannotResumeError,
    ConversationSubscription,
    Event,
    ListSubscription,
    Subscription,
)
from streams.views.problems import ProblemError, not_ready
from streams.views.read.index import Filter
from streams.views.read.partition import PartitionView
from streams.views.read.tables import Tables
from streams.views.refusals import TOO_MANY_STREAMS

if TYPE_CHECKING:
    from streams.tracing import Trail

HEARTBEAT_S = 10.0
#: A client that has not accepted a piece, or a change since `ready`, for this long is disconnected.
SLOW_S = 20.0
#: How long a slow client gets to read `too_slow`.
FAREWELL_S = 20.0

_RETRY_S = (0.2, 2.0)
_EVENTS_AT_ONCE = 50
_OPENING = b"retry: 1000\n\n"
_HEARTBEAT = b": heartbeat\n\n"
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Asked(Struct, frozen=True):
    """The request: one conversation, or all that a filter admits.

    `target` is the requested path and query.
    """

    reader: Reader
    target: bytes
    wanted: Filter
    conversation_id: str | None


class _Sources:
    """The sources of one stream, until one of them ends."""

    def __init__(self, local: Subscription | None, relays: list[Relay]) -> None:
        self.local = local
        self.relays = relays
        self.over = False
        #: When `ready` was sent (`time.monotonic`); None: not yet.
        self.ready_at: float | None = None
        self._local_ready = local is None
        self._unready = set(relays)
        self.positions: dict[int, int] = {}

    async def take(self) -> list[Event]:
        """Return the events to send now. Raises ProblemError if the partitions are lost."""
        events: list[Event] = []
        if self.local is not None:
            if self._local_ready:
                events += self.local.take(_EVENTS_AT_ONCE) or await self.local.first()
            else:
                events += await self.local.first()
                self._local_ready = not events
                if self._local_ready:
                    self.positions |= self.local.positions
        for relay in self.relays:
            for event in relay.take(_EVENTS_AT_ONCE):
                if event.name == "ready":
                    self.positions |= relay.positions
                    self._unready.discard(relay)
                else:
                    events.append(event)
        if self.ready_at is None and self._local_ready and not self._unready:
            events.append(Event("ready", b"{}"))
        return events

    @property
    def late(self) -> bool:
        """Whether a change waits for too long. Before `ready` none does: what there is may take any time to read."""
        since = None if self.local is None else self.local.waiting_since
        if since is None or self.ready_at is None:
            return False
        return time.monotonic() - max(since, self.ready_at) > SLOW_S

    async def close(self) -> None:
        if self.local is not None:
            self.local.close()
        for relay in self.relays:
            await relay.close()


class EventStreams:
    """Opens streams, up to a limit."""

    def __init__(self, tables: Tables, peers: Peers, backlog: Backlog, most: int, metrics: Metrics) -> None:
        """Allow `most` streams."""
        self.tables = tables
        self.peers = peers
        self.backlog = backlog
        self.most = most
        self.metrics = metrics
        self.open: set[EventStream] = set()
        self.closing = False
        #: None unless traces are sent.
        self.trail: Trail | None = None

    def end_unless(self, is_valid: Callable[[Token], bool]) -> None:
        """End the streams whose token is no longer valid."""
        for stream in self.open:
            if not is_valid(stream.token):
                stream.end()

    def close(self) -> None:
        """End all streams, and open no more."""
        self.closing = True
        for stream in self.open:
            stream.wake.set()


class EventStream:
    """One stream to one client: an ASGI application that has been opened before."""

    def __init__(self, streams: EventStreams, asked: Asked, last_event_id: str | None) -> None:
        """Open nothing yet."""
        self.wake = asyncio.Event()
        self._streams = streams
        self._tables = streams.tables
        self._asked = asked
        self._last_event_id = last_event_id
        self._sources: _Sources | None = None
        self._positions: dict[int, int] = {}
        #: The id of the topic whose offsets the positions are.
        self._topic: int | None = None
        self._gone = False
        self._revoked = False
        self._starts_over = False
        self._clock = asyncio.get_running_loop().time
        #: Whether a piece waits for the client, and since when it does or does not.
        self._sending = False
        self._since = self._clock()
        #: Ends the stream if a piece waits for too long.
        self._limit = asyncio.timeout(None)

    @property
    def token(self) -> Token:
        """The stream's token."""
        return self._asked.reader.token

    def end(self) -> None:
        """End it: its token is no longer valid."""
        self._revoked = True
        self.wake.set()

    @property
    def _over(self) -> bool:
        return self._gone or self._revoked or self._streams.closing

    async def open(self) -> None:
        """Find all sources. Raises ProblemError, which the client gets instead of a stream."""
        if self._streams.closing:
            raise not_ready("the worker is stopping")
        if len(self._streams.open) >= self._streams.most:
            raise ProblemError(TOO_MANY_STREAMS, f"this worker serves at most {self._streams.most} event streams")
        self._streams.open.add(self)
        try:
            partitions = self._partitions()
            resume = positions.resumable(self._last_event_id, partitions, time.time())
            self._topic = None if resume is None else resume.topic
            await self._attach(partitions, None if resume is None else resume.positions)
        except BaseException:
            self._streams.open.discard(self)
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client disconnects, the worker stops, or the client is too slow."""
        listening = asyncio.create_task(self._listen(receive))
        self._look()
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            if scope["method"] != "HEAD":
                async with self._limit:
                    await self._send_events(send)
        except (TimeoutError, _TooSlowError):
            self._streams.metrics.event_streams_cut.inc()
            await self._detach()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL_S):
                    await send(_piece(self._frame(Event("too_slow", b"{}"))))
                    await send(_piece(b"", more=False))
            return
        finally:
            listening.cancel()
            self._timer.cancel()
            await self._detach()
            self._streams.open.discard(self)
        if not self._gone:
            async with asyncio.timeout(SLOW_S):
                await send(_piece(b"", more=False))

    async def _send_events(self, send: Send) -> None:
        """Return when the stream is over. Raises TimeoutError or _TooSlowError if the client is too slow."""
        await self._send(send, _OPENING)
        while not self._over:
            self.wake.clear()
            sources = self._sources
            if sources is None or sources.over:
                if self._asked.reader.partitions is not None:
                    return
                if not await self._attach_again(send):
                    return
                continue
            try:
                events = await sources.take()
            except ProblemError:
                sources.over = True
                continue
            if self._starts_over:
                self._starts_over = False
                events.insert(0, Event("begin", b"{}"))
            if events:
                await self._send(send, b"".join(self._frame(event) for event in events))
                if self._streams.trail is not None:
                    self._streams.trail.sent(event.position for event in events)
                if sources.late:
                    raise _TooSlowError
            else:
                await self._wait(send)

    async def _attach_again(self, send: Send) -> bool:
        """Find sources again, and resume where they ended; return False if the stream is over."""
        sent = dict(self._positions)
        await self._detach()
        backoff = Backoff(*_RETRY_S)
        waiting = False
        heard_at = time.monotonic()
        while not self._over:
            try:
                partitions = self._partitions()
                await self._attach(partitions, sent if partitions <= sent.keys() else None)
            except ProblemError as error:
                if error.reason is NOT_FOUND:
                    await self._send(send, self._frame(Event("removed", encode({"id": self._asked.conversation_id}))))
                    return False
                if not waiting:
                    waiting = True
                    await self._send(
                        send, self._frame(Event("waiting", encode({"partitions": sorted(error.partitions)})))
                    )
                if time.monotonic() - heard_at > HEARTBEAT_S:
                    heard_at = time.monotonic()
                    await self._send(send, _HEARTBEAT)
                self.wake.clear()
                await self._pause(backoff.next_s())
            else:
                return True
        return False

    async def _attach(self, partitions: frozenset[int], resume: Mapping[int, int] | None) -> None:
        present = self._tables.states_identity
        # Trap: the topic may have been created again, and be longer by now than the former one was.
        if None not in {self._topic, present} and self._topic != present:
            resume = None
        if resume is None or self._topic is None:
            self._topic = present
        try:
            self._sources = await self._find_sources(partitions, resume)
        except CannotResumeError:
            resume, self._topic = None, present
            self._sources = await self._find_sources(partitions, None)
        self._positions = dict(resume or {})
        self._starts_over = resume is None and self._asked.conversation_id is None

    async def _find_sources(self, partitions: frozenset[int], resume: Mapping[int, int] | None) -> _Sources:
        assignment = self._tables.assignment
        views: dict[int, PartitionView] = {}
        elsewhere: dict[str, set[int]] = {}
        for partition in partitions:
            view = self._tables.view(partition, indexed=True)
            if view is not None:
                views[partition] = view
            elif self._asked.reader.partitions is not None:
                raise not_ready("the partition is another worker's", {partition})
            else:
                elsewhere.setdefault(self._tables.owner(partition), set()).add(partition)
        relays = [self._relay(url, frozenset(theirs), resume) for url, theirs in elsewhere.items()]
        try:
            for relay in relays:
                await relay.opened()
            await self._prepare(views, resume)
            local = self._subscribe(views, resume) if views else None
        except BaseException:
            for relay in relays:
                await relay.close()
            raise
        sources = _Sources(local, relays)
        self._assignment = assignment
        assignment.at_end.add(self._end_sources)
        # Trap: one that ended before there were sources has told nobody.
        sources.over = assignment.over or any(relay.ended for relay in relays)
        return sources

    async def _prepare(self, views: Mapping[int, PartitionView], resume: Mapping[int, int] | None) -> None:
        for number, view in views.items():
            if resume is not None:
                await self._streams.backlog.reach(view.feed, resume[number])
            if self._asked.conversation_id is None:
                await view.prepare_index()
            else:
                await view.prepare(self._asked.conversation_id)

    def _relay(self, url: str, partitions: frozenset[int], resume: Mapping[int, int] | None) -> Relay:
        last_event_id = None
        if resume is not None:
            theirs = {number: resume[number] for number in partitions}
            last_event_id = positions.text(theirs, time.time(), self._topic)
        return Relay(
            self._streams.peers.stream(
                url,
                self._asked.target,
                self._asked.reader,
                partitions,
                {} if last_event_id is None else {b"last-event-id": last_event_id.encode()},
                silence_s=3 * HEARTBEAT_S,
            ),
            partitions,
            resumes=resume is not None,
            wake=self.wake.set,
            on_end=self._end_sources,
        )

    def _subscribe(self, views: Mapping[int, PartitionView], resume: Mapping[int, int] | None) -> Subscription:
        asked = self._asked
        if asked.conversation_id is None:
            return ListSubscription(views, asked.wanted, resume, self.wake.set)
        ((number, view),) = views.items()
        found = view.conversation(asked.conversation_id)
        if found is None or not asked.reader.may_see(found.organization):
            raise not_found("conversation", asked.conversation_id)
        return ConversationSubscription(
            view,
            asked.conversation_id,
            asked.reader.organizations,
            None if resume is None else resume[number],
            self.wake.set,
        )

    def _partitions(self) -> frozenset[int]:
        """Return those to tell of. Raises ProblemError if another worker asks for others than a conversation's."""
        asked = self._asked.reader.partitions
        if self._asked.conversation_id is None:
            return frozenset(range(self._tables.partition_count)) if asked is None else asked
        its = frozenset({self._tables.partition_of(self._asked.conversation_id)})
        if asked not in {None, its}:
            raise not_ready("the conversation is in another partition", its)
        return its

    def _end_sources(self) -> None:
        if self._sources is not None:
            self._sources.over = True
        self.wake.set()

    async def _detach(self) -> None:
        sources, self._sources = self._sources, None
        if sources is not None:
            self._assignment.at_end.discard(self._end_sources)
            await sources.close()

    def _frame(self, event: Event) -> bytes:
        name, data, position = event
        sources = self._sources
        if sources is not None:
            if position is not None:
                sources.positions[position[0]] = position[1]
            if name == "ready":
                sources.ready_at = time.monotonic()
            if sources.ready_at is not None:
                self._positions = sources.positions
                event_id = positions.text(self._positions, time.time(), self._topic).encode()
                return b"event: %s\nid: %s\ndata: %s\n\n" % (name.encode(), event_id, data)
        return b"event: %s\ndata: %s\n\n" % (name.encode(), data)

    async def _send(self, send: Send, body: bytes) -> None:
        self._sending, self._since = True, self._clock()
        try:
            await send(_piece(body))
        finally:
            self._sending, self._since = False, self._clock()

    async def _wait(self, send: Send) -> None:
        await self.wake.wait()
        if self._clock() - self._since >= HEARTBEAT_S:
            await self._send(send, _HEARTBEAT)

    def _look(self) -> None:
        """Have a heartbeat sent when none was for long, or end the stream when the client accepts nothing.

        One timer now and then, because two for each event cost a tenth of the streams' processor time.
        """
        now = self._clock()
        due = self._since + (SLOW_S if self._sending else HEARTBEAT_S)
        if now >= due:
            if not self._sending:
                self.wake.set()
            elif self._limit.when() is None:
                self._limit.reschedule(now)
            due = now + HEARTBEAT_S
        next_at = min(due, now + min(SLOW_S, HEARTBEAT_S))
        self._timer = asyncio.get_running_loop().call_at(next_at, self._look)

    async def _pause(self, most_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await self.wake.wait()

    async def _listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self.wake.set()


class _TooSlowError(Exception):
    """The client reads more slowly than changes arrive."""


def _piece(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
