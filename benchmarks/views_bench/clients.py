"""Clients that cost little next to what they measure: GETs over kept connections, and event streams."""

import asyncio
import itertools
import tempfile
from collections.abc import Callable, Sequence
from typing import cast

from support.closed_loop import Measured, has_wrk, in_turn, run, wrk
from support.post import Pool

#: Paths in turn.
_SCRIPT = """
local paths = {}
for line in io.lines("{paths}") do paths[#paths + 1] = line end
wrk.headers["Authorization"] = "Bearer {token}"
local number = 0
function request()
  number = number % #paths + 1
  return wrk.format("GET", paths[number])
end
"""


def closed_loop(port: int, token: str, paths: Sequence[str], connections: int, seconds: float) -> Measured:
    """Ask for paths in turn, with so many connections, each as fast as it is answered. Every answer must be a 200."""
    if not has_wrk():
        return run(_closed_loop(port, token, paths, connections, seconds))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(paths))
        file.flush()
        script = _SCRIPT.replace("{token}", token).replace("{paths}", file.name)
        return wrk(f"http://127.0.0.1:{port}/", script, connections, seconds)


async def _closed_loop(port: int, token: str, paths: Sequence[str], connections: int, seconds: float) -> Measured:
    async with Getter(port, token) as getter:

        async def ask() -> None:
            await getter.get(next(in_order))

        in_order = itertools.cycle(paths)
        return await in_turn(getter, connections, seconds, ask)


class Getter(Pool):
    """Asks for paths of one server."""

    def __init__(self, port: int, token: str) -> None:
        super().__init__("127.0.0.1", port)
        self._head = f" HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n"

    async def get(self, path: str) -> bytes:
        """Return the body of a 200. RuntimeError for any other answer, OSError if there is none."""
        status, body = await self.ask(f"GET {path}{self._head}".encode())
        if status != 200:
            raise RuntimeError(f"{path}: {status} {body!r}")
        return body


class Stream(asyncio.Protocol):
    """Hears an event stream: `on_data` is called with whatever comes."""

    def __init__(self, port: int, token: str, path: str, on_data: Callable[[bytes], None]) -> None:
        self.ready = asyncio.get_running_loop().create_future()
        self.lost = False
        self._request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._on_data = on_data
        self._transport: asyncio.Transport | None = None
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        # uvloop's are no subclass of it.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request.encode())

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.lost = True
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionResetError(f"no stream: {self._seen[:500]!r}"))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self.ready.done():
            self._on_data(data)
            return
        self._seen = self._seen[-200:] + data
        if b"event: ready\n" in self._seen:
            self.ready.set_result(None)

    def close(self) -> None:
        """Leave."""
        if self._transport is not None:
            self._transport.close()


async def open_stream(port: int, token: str, path: str, on_data: Callable[[bytes], None]) -> Stream:
    """Return a stream that has told what there is."""
    _, stream = await asyncio.get_running_loop().create_connection(
        lambda: Stream(port, token, path, on_data), "127.0.0.1", port
    )
    await asyncio.wait_for(stream.ready, 60)
    return stream
