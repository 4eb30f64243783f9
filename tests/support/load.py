"""OpenBSP as a load: posts events at a steady rate, once each, and writes down the answers. Imports nothing of ours."""

import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

#: pg_net gives up after this.
SENDER_PATIENCE_S = 5.0


@dataclass
class Attempt:
    """One event, sent once at `started` (time.monotonic()). `status` is None if there was no answer.

    `key` is empty for a row without an id.
    """

    key: str
    seconds: float
    started: float = 0.0
    status: int | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    #: The webhook's body.
    sent: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Load:
    """Runs in a thread from `with` to its end; `attempts` is complete after it."""

    url: str
    token: str
    per_second: float = 100.0
    prefix: str = "load"
    #: What each row has besides, or instead.
    columns: Mapping[str, Any] = field(default_factory=dict)
    #: Returns the whole body of the webhook with a number, instead of one that is made of `columns`.
    event: Callable[[int], Mapping[str, Any]] | None = None
    #: How many may wait for their answers; pg_net sends 200 at once.
    at_once: int = 100_000
    attempts: list[Attempt] = field(default_factory=list)
    #: When those were sent that wait for their answers.
    waiting: dict[int, float] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more, and wait for the answers that are still to come."""
        self._stop.set()
        self._thread.join()

    @property
    def accepted(self) -> dict[str, str]:
        """Return event id by key of what was answered with a 2xx."""
        return {
            attempt.key: attempt.answer["event_id"]
            for attempt in self.attempts
            if attempt.status is not None and 200 <= attempt.status < 300
        }

    def count(self, disposition: str) -> int:
        """Count the receipts of a disposition so far."""
        return sum(attempt.answer.get("disposition") == disposition for attempt in self.attempts)

    @property
    def outcomes(self) -> Counter[str]:
        """Count answers by disposition, or reason, or `no answer`."""
        return Counter(
            attempt.answer.get("disposition") or attempt.answer.get("reason") or "no answer"
            for attempt in self.attempts
        )

    @property
    def slowest(self) -> float:
        """Return the longest time that an answer took, in seconds."""
        return max(attempt.seconds for attempt in self.attempts if attempt.status is not None)

    def claims(self) -> list[Attempt]:
        """Return the answers that say an event is stored without being a 2xx."""
        return [
            attempt
            for attempt in self.attempts
            if attempt.status is not None
            and attempt.status >= 500
            and ("disposition" in attempt.answer or "event_id" in attempt.answer)
        ]

    async def _run(self) -> None:
        connections = _Connections(self.url, self.token)
        started = time.monotonic()
        room = asyncio.Semaphore(self.at_once)
        async with asyncio.TaskGroup() as sending:
            for number in itertools.count():
                if self._stop.is_set():
                    break
                await room.acquire()
                sent = sending.create_task(self._send(connections, self._event(number)))
                sent.add_done_callback(lambda _: room.release())
                await asyncio.sleep(max(0.0, started + (number + 1) / self.per_second - time.monotonic()))
        connections.close()

    def _event(self, number: int) -> Mapping[str, Any]:
        if self.event is not None:
            return self.event(number)
        key = f"{self.prefix}-{number}"
        content = {"type": "text", "text": "x" * 200}
        data = {"id": key, "conversation_id": f"of {key}", "content": content} | self.columns
        return {"entity": "messages", "action": "insert", "data": data}

    async def _send(self, connections: "_Connections", envelope: Mapping[str, Any]) -> None:
        body = json.dumps(envelope).encode()
        started = time.monotonic()
        attempt = Attempt(envelope["data"].get("id", ""), 0.0, started, sent=envelope)
        self.waiting[id(attempt)] = started
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(SENDER_PATIENCE_S):
                attempt.status, attempt.answer = await connections.post(body)
        attempt.seconds = time.monotonic() - started
        self.attempts.append(attempt)
        del self.waiting[id(attempt)]


#: libcurl gives up after so many connections that had died.
_MAX_RETRIES = 5


class _DeadConnectionError(Exception):
    """A connection that was used again ended before a byte of the answer came."""


class _Connections:
    """Connections that are used again, as by pg_net. The pool of httpx takes seconds for hundreds at once.

    As libcurl does for pg_net, which asks it for nothing else: a request on a connection that was used before, and that
    ends without a byte of an answer, is sent again on another one, at most five times (curl's lib/transfer.c,
    Curl_retry_request: "This might happen if the connection was left alive when we were done using it before, but that
    was closed when we wanted to read from it again"). Nothing else is ever sent twice.
    """

    def __init__(self, url: str, token: str) -> None:
        self._host, _, self._port = url.removeprefix("http://").partition(":")
        self._head = (
            f"POST /webhooks HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: %d\r\n\r\n"
        ).encode()
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Return status and content of the answer. Raises OSError and EOFError."""
        for _ in range(_MAX_RETRIES):
            try:
                return await self._post(body)
            except _DeadConnectionError:
                continue
        raise ConnectionError(f"tried {_MAX_RETRIES} connections that were dead")

    async def _post(self, body: bytes) -> tuple[int, dict[str, Any]]:
        used_before = True
        while self._idle:
            reader, writer = self._idle.pop()
            # libcurl looks as well whether an idle connection has ended, in order or not, before it uses it.
            if not reader.at_eof() and reader.exception() is None and not writer.is_closing():
                break
            writer.close()
        else:
            used_before = False
            reader, writer = await asyncio.open_connection(self._host, int(self._port))
        try:
            writer.write(self._head % len(body) + body)
            beginning = b""
            try:
                beginning = await reader.read(1)
            except ConnectionError:
                if not used_before:
                    raise
            if not beginning and used_before:
                raise _DeadConnectionError  # noqa: TRY301 the connection is closed below
            head = (beginning + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.partition("content-length:")[2].partition("\r\n")[0])
            content = json.loads(await reader.readexactly(length))
        except BaseException:
            writer.close()
            raise
        if "connection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head.split()[1]), content

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
