"""The events of another worker's partitions, relayed to a client of this one."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus

import aiohttp

from streams.views.live import positions
from streams.views.live.subscription import CannotResumeError, Event
from streams.views.problems import ProblemError, not_ready, relayed

#: Events read ahead of the client from the other worker.
_AHEAD = 200
_LONGEST_FRAME = 64 * 1024 * 1024


class Relay:
    """Reads the stream of another worker."""

    def __init__(
        self,
        stream: AbstractAsyncContextManager[aiohttp.ClientResponse],
        partitions: frozenset[int],
        *,
        resumes: bool,
        wake: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        """Start reading. `wake` is called when events are available, `on_end` when the stream has ended."""
        #: The position of the other worker when it sent `ready`.
        self.positions: Mapping[int, int] = {}
        #: Whether the other worker sends no more.
        self.ended = False
        self._sent: Mapping[int, int] = {}
        self._stream = stream
        self._partitions = partitions
        self._resumes = resumes
        self._wake = wake
        self._on_end = on_end
        self._events: deque[Event] = deque()
        self._room = asyncio.Event()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run())

    async def opened(self) -> None:
        """Return when the stream has begun. Raises ProblemError, or CannotResumeError if it cannot resume."""
        await asyncio.shield(self._opened)

    def take(self, most: int) -> list[Event]:
        """Return the received events; one of them is `ready`."""
        events = [self._events.popleft() for _ in range(min(most, len(self._events)))]
        self._room.set()
        if self._events:
            self._wake()
        return events

    async def close(self) -> None:
        """Stop reading."""
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._opened.done() and not self._opened.cancelled():
            self._opened.exception()

    async def _run(self) -> None:
        error: Exception = not_ready("the partition's worker has ended its stream", self._partitions)
        try:
            async with self._stream as response:
                if response.status != HTTPStatus.OK:
                    error = relayed(await response.read(), self._partitions)
                    return
                async for name, sent, data in _frames(response.content.iter_any()):
                    if self._resumes and name == "begin":
                        error = CannotResumeError()
                        return
                    if not self._opened.done():
                        self._opened.set_result(None)
                    await self._take(name, sent, data)
        except ProblemError as problem:
            error = problem
        finally:
            if not self._opened.done():
                self._opened.set_exception(error)
            self.ended = True
            self._on_end()

    async def _take(self, name: str, sent: Mapping[int, int], data: bytes) -> None:
        if name in {"begin", "too_slow"}:
            return
        while len(self._events) >= _AHEAD:
            self._room.clear()
            await self._room.wait()
        position = None
        if name == "ready":
            self.positions = sent
        elif sent:
            # Each event moves the position of one partition.
            position = next((item for item in sent.items() if self._sent.get(item[0]) != item[1]), None)
        self._sent = sent
        self._events.append(Event(name, data, position))
        self._wake()


async def _frames(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, Mapping[int, int], bytes]]:
    rest = b""
    async for chunk in chunks:
        rest += chunk
        *frames, rest = rest.split(b"\n\n")
        if len(rest) > _LONGEST_FRAME:
            raise not_ready("a worker sent an event without end")
        for frame in frames:
            fields = dict(line.split(b": ", 1) for line in frame.split(b"\n") if line and not line.startswith(b":"))
            if b"event" in fields:
                sent = positions.parse(fields.get(b"id", b"").decode())
                yield fields[b"event"].decode(), {} if sent is None else sent.positions, fields.get(b"data", b"")
