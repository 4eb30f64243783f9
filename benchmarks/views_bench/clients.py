"""Clients that cost little next to what they measure: GETs over kept connections, and event streams."""

import asyncio
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from support.post import Connection

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}

#: Every request is for another path, in an order that no cache can know.
_SCRIPT = """
local paths = {}
for line in io.lines("{paths}") do paths[#paths + 1] = line end
wrk.headers["Authorization"] = "Bearer {token}"
local number = 0
function request()
  number = (number * 1103515245 + 12345) % 2147483648
  return wrk.format("GET", paths[number % #paths + 1])
end
"""


@dataclass(frozen=True)
class Measured:
    """Answers per second, and how long they took."""

    per_second: float
    p50_s: float
    p99_s: float


def generator() -> str:
    """Return the name of the load generator."""
    return "wrk, one thread" if shutil.which("wrk") else "asyncio with httptools, one process"


def closed_loop(port: int, token: str, paths: Sequence[str], connections: int, seconds: float) -> Measured:
    """Ask with so many connections, each as fast as it is answered. Every answer must be a 200."""
    if shutil.which("wrk") is None:
        return asyncio.run(_closed_loop(port, token, paths, connections, seconds))
    with (
        tempfile.NamedTemporaryFile("w", suffix=".txt") as list_,
        tempfile.NamedTemporaryFile("w", suffix=".lua") as lua,
    ):
        list_.write("\n".join(paths))
        list_.flush()
        lua.write(_SCRIPT.replace("{token}", token).replace("{paths}", list_.name))
        lua.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "-s", lua.name]
        output = subprocess.run(
            [*command, f"http://127.0.0.1:{port}/"], check=True, capture_output=True, text=True
        ).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(output)
    return Measured(
        float(_found(r"Requests/sec:\s+([\d.]+)", output)[0]),
        *(
            float(value) * _UNITS[unit]
            for value, unit in (_found(rf"{part}%\s+([\d.]+)(us|ms|s)", output) for part in (50, 99))
        ),
    )


async def _closed_loop(port: int, token: str, paths: Sequence[str], connections: int, seconds: float) -> Measured:
    times: list[float] = []
    end = time.monotonic() + seconds

    async def client(getter: "Getter", number: int) -> None:
        while time.monotonic() < end:
            number = (number * 1103515245 + 12345) % 2147483648
            started = time.monotonic()
            await getter.get(paths[number % len(paths)])
            times.append(time.monotonic() - started)

    async with Getter(port, token) as getter, asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(client(getter, number))
    ordered = sorted(times)
    return Measured(len(ordered) / seconds, ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100])


class Getter:
    """Asks for paths of one server, over as many kept connections as there are answers outstanding."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._head = f" HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._idle: list[Connection] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._idle:
            assert connection.transport is not None
            connection.transport.close()

    async def get(self, path: str) -> bytes:
        """Return the body of a 200. RuntimeError for any other answer, OSError if there is none."""
        if self._idle:
            connection = self._idle.pop()
        else:
            _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._port)
        status, body = await connection.ask(f"GET {path}{self._head}".encode())
        self._idle.append(connection)
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
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request.encode())

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


def _found(pattern: str, output: str) -> tuple[str, ...]:
    match = re.search(pattern, output)
    if match is None:
        raise RuntimeError(output)
    return match.groups()
