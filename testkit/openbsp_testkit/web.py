"""HTTP with the standard library alone: a connection for each request, never through a proxy."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from io import BufferedReader, BytesIO
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import SplitResult, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

TransportErrors = (OSError, HTTPException, asyncio.TimeoutError)
"""Errors of a request without an answer, or with half of one."""


@dataclass(frozen=True)
class Response:
    """An answer, whole."""

    status_code: int
    headers: Mapping[str, str]
    """Names in lower case."""
    content: bytes = field(repr=False)

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status_code < 300  # noqa: PLR2004

    @property
    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.content)


def get(url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 10.0) -> Response:
    """Send a GET request and return the answer; `TransportErrors` if there is none within `timeout` seconds."""
    parts = urlsplit(url)
    connection = (HTTPSConnection if parts.scheme == "https" else HTTPConnection)(
        cast("str", parts.hostname), parts.port, timeout=timeout
    )
    try:
        connection.request("GET", _target(parts), headers=dict(headers or {}))
        return _response(connection.getresponse())
    finally:
        connection.close()


async def post(url: str, body: bytes, *, headers: Mapping[str, str], timeout: float) -> Response:
    """Send a POST request and return the answer; `TransportErrors` if there is none within `timeout` seconds."""
    return await asyncio.wait_for(_post(url, body, headers), timeout)


async def _post(url: str, body: bytes, headers: Mapping[str, str]) -> Response:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port or (443 if secure else 80), ssl=secure or None
    )
    lines = {"Host": parts.netloc.rpartition("@")[2], **headers, "Content-Length": len(body), "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    try:
        writer.write(f"POST {_target(parts)} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        await writer.drain()
        received = await reader.read()
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)  # the socket is closed in the next turn of the loop
    response = HTTPResponse(cast("Any", _Received(received)), method="POST")
    response.begin()
    return _response(response)


class _Received:
    """In place of the socket that `HTTPResponse` expects."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, _mode: str) -> BufferedReader:
        return BufferedReader(cast("Any", BytesIO(self._content)))


def _response(response: HTTPResponse) -> Response:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Response(response.status, headers, response.read())


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
