"""The views behind their server, over real sockets."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from openbsp.http.connections import Connections, Limits
from openbsp.http.listener import listen
from openbsp.http.server import Server
from streams.views.http.protocol import ReadProtocol
from support.views_world import ALL, World, conversation

#: The head of a request, but for its end.
GET = b"GET /conversations/c HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + ALL.encode() + b"\r\n"


class Running:
    """Views that listen, and what their server allows."""

    def __init__(self, world: World, connections: Connections, server: Server, port: int) -> None:
        self.world = world
        self.connections = connections
        self.server = server
        self.state = server.server_state
        self.port = port

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    def has_read(self, size: int) -> bool:
        """Return whether so many bytes of a request's head have come, on the only connection."""
        return [connection._fruitless_bytes for connection in self.state.connections] == [size]

    def pass_time(self, seconds: float) -> None:
        """Look at the connections now and so many seconds later."""
        now = time.monotonic()
        self.connections.look(self.state.connections, now)
        self.connections.look(self.state.connections, now + seconds)


@contextlib.asynccontextmanager
async def running(most: int = 10) -> AsyncIterator[Running]:
    world = World()
    await world.own_and_index()
    world.post(conversation("c"))
    await world.settle()
    connections = Connections(Limits(most, 5.0, 5.0), world.views.metrics)
    server = Server(world.views.app, connections, keep_alive_s=60, graceful_s=2, protocol=ReadProtocol)
    with listen("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(server.serve_on(listener))
        await until(lambda: server.started)
        try:
            yield Running(world, connections, server, listener.getsockname()[1])
        finally:
            server.should_exit = True
            await serving


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Read one answer."""
    async with asyncio.timeout(10):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:]) if name}
        return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError
