"""The views' server under clients that are slow, many, or speak no HTTP: over real sockets."""

import asyncio
import contextlib
import functools
import json
import socket
from typing import Any

import pytest

from openbsp.http.connections import MAX_HEAD_BYTES
from streams.views.live import events
from support.views_server import GET, Running, answer, running, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def ended(reader: asyncio.StreamReader) -> None:
    """Return when the connection has been closed."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""


async def refused(reader: asyncio.StreamReader, reason: str, status: int) -> dict[str, str]:
    """Read a refusal that ends the connection."""
    found, headers, body = await answer(reader)
    assert (found, headers["content-type"], headers["connection"]) == (status, "application/problem+json", "close")
    assert json.loads(body)["reason"] == reason
    await ended(reader)
    return headers


async def test_a_client_that_never_finishes_its_headers_is_given_up():
    async with running() as server:
        for begun in (b"", b"GET /conv", GET):
            reader, writer = await server.connect()
            writer.write(begun)
            await until(functools.partial(server.has_read, len(begun)))
            server.pass_time(11)
            await ended(reader)
            writer.close()
            await until(lambda: not server.state.connections)
        text = (await metrics(server)).splitlines()
        assert "streams_clients_given_up_total 3.0" in text


async def test_a_client_that_is_quick_enough_or_waits_for_its_next_request_is_kept():
    async with running() as server:
        reader, writer = await server.connect()
        for _ in range(2):
            writer.write(GET + b"\r\n")
            assert (await answer(reader))[0] == 200
            server.pass_time(3600)
        writer.close()


async def test_event_streams_are_no_slow_clients():
    async with running() as server:
        reader, writer = await server.connect()
        writer.write(GET.replace(b" HTTP", b"/events HTTP") + b"\r\n")
        async with asyncio.timeout(10):
            await reader.readuntil(b"event: ready")
        server.pass_time(3600)
        assert [c.transport.is_closing() for c in server.state.connections] == [False]
        writer.close()
        await until(lambda: not server.world.views._streams.open)


async def open_stream(server: Running) -> tuple[asyncio.StreamWriter, Any]:
    """Return the client's side of an event stream, and the server's connection."""
    reader, writer = await server.connect()
    writer.write(GET.replace(b" HTTP", b"/events HTTP") + b"\r\n")
    async with asyncio.timeout(10):
        await reader.readuntil(b"event: ready")
    (connection,) = server.state.connections
    return writer, connection


@pytest.mark.parametrize("waiting", [1, 2])
async def test_an_event_stream_ends_with_its_client_whatever_was_asked_behind_it(waiting, monkeypatch):
    """While requests wait, nothing is read of the connection: its next heartbeat finds the client gone."""
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    async with running() as server:
        writer, connection = await open_stream(server)
        writer.write(waiting * (GET + b"\r\n"))
        await until(lambda: len(connection.pipeline) == waiting)
        writer.transport.abort()
        await until(lambda: not server.world.views._streams.open)


async def test_what_comes_before_a_body_is_bounded():
    async with running() as server:
        reader, writer = await server.connect()
        writer.write(GET)
        with contextlib.suppress(ConnectionError):
            for _ in range(MAX_HEAD_BYTES // 1000 + 2):
                writer.write(b"X-Filler: " + b"x" * 1000 + b"\r\n")
                await writer.drain()
        found, headers, body = await answer(reader)
        assert (found, json.loads(body)["reason"]) == (431, "head_too_large")
        assert headers["connection"] == "close"
        writer.close()


@pytest.mark.parametrize(
    "nonsense",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"* * *\r\n\r\n"],
)
async def test_what_is_no_http_is_refused_as_a_problem(nonsense):
    async with running() as server:
        reader, writer = await server.connect()
        writer.write(nonsense)
        await refused(reader, "malformed_request", 400)
        writer.close()


async def test_connections_are_limited_and_room_is_found_again():
    async with running(most=2) as server:
        kept = [await server.connect() for _ in range(2)]
        for reader, writer in kept:
            writer.write(GET + b"\r\n")
            assert (await answer(reader))[0] == 200
        reader, writer = await server.connect()
        assert (await refused(reader, "too_many_connections", 503))["retry-after"]
        writer.close()
        kept[0][1].close()
        await until(lambda: len(server.state.connections) == 1)
        reader, writer = await server.connect()
        writer.write(GET + b"\r\n")
        assert (await answer(reader))[0] == 200
        writer.close()
        kept[1][1].close()


@pytest.mark.parametrize("size", [5, 300_000])
async def test_the_body_of_a_get_is_ignored_and_the_next_request_is_answered(size):
    async with running() as server:
        reader, writer = await server.connect()
        for _ in range(2):
            writer.write(GET + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
            assert (await answer(reader))[0] == 200
        writer.close()


async def test_a_body_that_never_ends_does_not_keep_its_connection():
    async with running() as server:
        reader, writer = await server.connect()
        writer.write(GET + b"Content-Length: 1000\r\n\r\n")
        assert (await answer(reader))[0] == 200
        writer.write(b"x")
        await until(lambda: [c.timeout_keep_alive_task for c in server.state.connections] == [None])
        server.pass_time(11)
        await ended(reader)
        writer.close()


async def test_a_line_feed_too_many_does_not_keep_a_connection_for_ever():
    async with running() as server:
        reader, writer = await server.connect()
        writer.write(GET + b"\r\n")
        assert (await answer(reader))[0] == 200
        writer.write(b"\r\n")
        await until(lambda: [c.timeout_keep_alive_task for c in server.state.connections] == [None])
        server.pass_time(4)
        assert [c.transport.is_closing() for c in server.state.connections] == [False]
        server.pass_time(6)
        await ended(reader)
        writer.close()


async def test_headers_after_a_chunked_body_are_bounded():
    async with running() as server:
        reader, writer = await server.connect()
        writer.write(GET + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: ")
        assert (await answer(reader))[0] == 200
        with contextlib.suppress(ConnectionError):
            for _ in range(MAX_HEAD_BYTES // 1000 + 2):
                writer.write(b"y" * 1000)
                await writer.drain()
        found, _, body = await answer(reader)
        assert (found, json.loads(body)["reason"]) == (431, "head_too_large")
        writer.close()


async def test_a_refusal_is_no_part_of_an_event_stream():
    async with running() as server:
        reader, writer = await server.connect()
        writer.write(GET.replace(b" HTTP", b"/events HTTP") + b"\r\n")
        async with asyncio.timeout(10):
            await reader.readuntil(b"event: ready")
            writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
            assert b"HTTP/1.1" not in await reader.read()
        writer.close()


async def test_a_client_that_does_not_read_its_answers_is_given_up():
    """By force: closing the connection would wait for it to read."""
    async with running() as server:
        for closes in (False, True):
            _, writer = await server.connect()
            writer.write(GET + b"\r\n")
            await until(lambda: any(c.cycle and c.cycle.response_complete for c in server.state.connections))
            (connection,) = server.state.connections
            connection.transport.write(b"x" * 50_000_000)
            assert connection.flow.write_paused
            if closes:
                connection.transport.close()
            server.pass_time(9)
            assert server.state.connections
            server.pass_time(11)
            await until(lambda: not server.state.connections)
            writer.close()
        assert "streams_clients_given_up_total 1.0" in (await metrics(server)).splitlines()


async def test_no_more_is_read_while_requests_wait():
    """Else their number would be without limit: each answer would let more of them in."""
    async with running() as server:
        reader, writer = await server.connect()
        await until(lambda: bool(server.state.connections))
        (connection,) = server.state.connections
        found = []
        complete = connection.on_response_complete

        def watched() -> None:
            complete()
            found.append((len(connection.pipeline), connection.flow.read_paused))

        connection.on_response_complete = watched
        writer.write(3 * (GET + b"\r\n"))
        for _ in range(3):
            assert (await answer(reader))[0] == 200
        assert found == [(1, True), (0, False), (0, False)]
        writer.close()


async def test_an_event_stream_has_its_own_time_for_a_client_that_does_not_read():
    async with running() as server:
        writer, connection = await open_stream(server)
        connection.pause_writing()
        server.pass_time(15)
        assert not connection.transport.is_closing()
        connection.resume_writing()
        writer.close()
        await until(lambda: not server.world.views._streams.open)


async def metrics(server: Running) -> str:
    """Return the metrics' page."""
    async with server.world.client() as client:
        return (await client.get("/metrics")).text


async def test_while_the_process_ends_each_connection_ends_with_its_next_answer():
    request = GET + b"\r\n"
    async with running() as server:
        used, writer = await server.connect()
        writer.write(request)
        assert (await answer(used))[1].get("connection") is None
        idle, idle_writer = await server.connect()
        draining = asyncio.create_task(server.server.drain())
        await until(lambda: server.connections.ending)
        writer.write(request)
        status, headers, _ = await answer(used)
        assert (status, headers["connection"]) == (200, "close")
        await ended(used)
        writer.close()
        await draining
        assert not idle.at_eof()
        with pytest.raises(ConnectionRefusedError):
            await server.connect()
        idle_writer.close()


async def test_what_waits_in_the_backlog_while_the_process_ends_is_answered():
    async with running() as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            # The loop has not had a turn since: nothing has accepted it.
            client.sendall(GET + b"\r\n")
            client.settimeout(0)
            await server.server._accept_no_more()
            reader, writer = await asyncio.open_connection(sock=client)
            assert (await answer(reader))[0] == 200
            writer.close()
