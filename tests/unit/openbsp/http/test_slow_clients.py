"""Which connections are given up, and which are only idle: with a clock of the test."""

import asyncio
from collections.abc import Callable

import pytest
import uvicorn
from prometheus_client import CollectorRegistry
from uvicorn.server import ServerState

from openbsp.http.connections import Connections, GuardedProtocol, Limits
from openbsp.metrics import ServiceMetrics

LIMITS = Limits(1, 5, 10)
HEADERS = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.aborted = False
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Client:
    """A connection to an application that answers once `ready`, when the body is complete or, if `hasty`, before."""

    def __init__(self, *, hasty: bool = False, limits: Limits = LIMITS) -> None:
        self.hasty = hasty
        self.answered = 0
        self.ready = asyncio.Event()
        self.ready.set()
        config = uvicorn.Config(self.answer, interface="asgi3", lifespan="off", log_config=None, ws="none")
        config.load()
        self.state = ServerState()
        self.transport = Transport()
        self.guard = Connections(limits, ServiceMetrics(CollectorRegistry(), "tests"))
        self.protocol = GuardedProtocol(self.guard, config, self.state, {})
        self.protocol.connection_made(self.transport)

    async def answer(self, _scope, receive, send) -> None:
        await self.ready.wait()
        more = not self.hasty
        while more:
            more = (await receive()).get("more_body", False)
        self.answered += 1
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def receives(self, data: bytes) -> None:
        self.protocol.data_received(data)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def looked_at(self, *moments: float) -> None:
        for moment in moments:
            self.guard.look(self.state.connections, moment)
        await self.settle()


def check(scenario: Callable[[], object]) -> None:
    async def run() -> None:
        await scenario()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    asyncio.run(run())


@pytest.mark.parametrize("beginning", [b"", b"POST / HT", b"POST / HTTP/1.1\r\nHost: x\r\n"])
def test_headers_that_do_not_come_end_the_connection(beginning: bytes):
    async def scenario() -> None:
        client = Client()
        await client.receives(beginning)
        await client.looked_at(0, 5)
        assert not client.transport.closed
        await client.looked_at(5.1)
        assert client.transport.closed

    check(scenario)


def test_a_body_that_does_not_come_is_refused_and_not_answered_twice():
    async def scenario() -> None:
        client = Client()
        await client.receives(HEADERS + b"x")
        await client.looked_at(0, 10)
        assert not client.transport.written
        await client.looked_at(10.1)
        assert client.transport.written.startswith(b"HTTP/1.1 408")
        assert b'"reason":"body_timeout"' in client.transport.written
        assert client.transport.closed
        assert client.answered
        assert client.transport.written.count(b"HTTP/1.1") == 1

    check(scenario)


@pytest.mark.parametrize(("header_s", "body_s"), [(5, 10), (10, 1)])
def test_a_body_has_its_own_time_however_long_its_headers_took(header_s: int, body_s: int):
    async def scenario() -> None:
        client = Client(limits=Limits(1, header_s, body_s))
        await client.receives(HEADERS[:20])
        await client.looked_at(0, header_s)
        await client.receives(HEADERS[20:] + b"x")
        await client.looked_at(header_s + 1, header_s + 1 + body_s)
        assert not client.transport.written
        await client.looked_at(header_s + 1.1 + body_s)
        assert client.transport.written.startswith(b"HTTP/1.1 408")

    check(scenario)


def test_a_client_from_which_this_side_does_not_read_is_not_slow():
    """A body that waits for memory: its time goes on when it is read again."""

    async def scenario() -> None:
        client = Client()
        client.ready.clear()
        await client.receives(HEADERS.replace(b": 4", b": 100000") + b"x" * 70_000)
        await client.looked_at(0, 1000)
        assert not client.transport.written
        client.ready.set()
        await client.settle()
        await client.looked_at(1001, 1011)
        assert not client.transport.written
        await client.looked_at(1011.1)
        assert client.transport.written.startswith(b"HTTP/1.1 408")

    check(scenario)


def test_a_body_that_drips_on_after_the_answer_ends_the_connection():
    async def scenario() -> None:
        client = Client(hasty=True)
        await client.receives(HEADERS)
        assert client.transport.written.startswith(b"HTTP/1.1 202")
        await client.receives(b"x")
        await client.looked_at(0, 10.1)
        assert client.transport.closed

    check(scenario)


def test_an_idle_connection_is_kept_and_each_request_has_its_own_time():
    async def scenario() -> None:
        client = Client()
        for start in (0, 100, 200):
            await client.looked_at(start)
            await client.receives(HEADERS)
            await client.looked_at(start + 1, start + 11)
            await client.receives(b"body")
            await client.looked_at(start + 12, start + 99)
        assert client.transport.written.count(b"HTTP/1.1 202") == 3
        assert not client.transport.closed
        assert b"HTTP/1.1 408" not in client.transport.written

    check(scenario)


def test_a_request_that_is_being_answered_is_not_slow():
    async def scenario() -> None:
        client = Client()
        client.protocol.pause_writing()
        await client.receives(HEADERS + b"body")
        client.protocol.flow.write_paused = False  # the application still waits
        await client.looked_at(0, 1000)
        assert not client.transport.closed

    check(scenario)


def test_a_line_feed_too_many_does_not_keep_a_connection_for_ever():
    async def scenario() -> None:
        client = Client()
        await client.receives(HEADERS + b"body")
        await client.receives(b"\r\n")
        await client.looked_at(0, 10)
        assert not client.transport.closed
        await client.looked_at(10.1)
        assert client.transport.closed

    check(scenario)


def test_a_client_that_does_not_read_its_answers_is_given_up():
    """By force: closing the connection would wait for it to read."""

    async def scenario() -> None:
        client = Client()
        await client.receives(HEADERS + b"body")
        client.protocol.pause_writing()
        await client.looked_at(0, 15)
        assert not client.transport.aborted
        await client.looked_at(15.1)
        assert client.transport.aborted

    check(scenario)
