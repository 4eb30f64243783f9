"""Other workers: asked with the caller's own token, so that they decide themselves what may be seen.

A question that came from another worker is never passed on: ownership may have changed in between, and two workers
that take each other for the owner would ask each other forever.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import cached_property

import httpx

from streams.views.http.access import HOP, Reader
from streams.views.http.problems import ProblemError, not_ready

_CONNECT_S = 1.0
_CONNECTIONS = 64


class Peers:
    """Asks other workers, over connections that are kept. All errors are ProblemError: not_ready."""

    def __init__(self, timeout_s: float) -> None:
        """Connect to nothing yet; an answer may take `timeout_s`."""
        self._timeout_s = timeout_s

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        return _client(_CONNECTIONS, httpx.Timeout(self._timeout_s, connect=_CONNECT_S))

    @cached_property
    def _streams(self) -> httpx.AsyncClient:
        return _client(None, httpx.Timeout(_CONNECT_S))

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        await self._streams.aclose()

    async def ask(  # noqa: PLR0917 whom, for what, in whose name
        self,
        url: str,
        target: bytes,
        reader: Reader,
        partitions: Iterable[int],
        headers: Mapping[bytes, bytes] | None = None,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        """Return the answer of the worker at `url` to a GET of `target` (path and query, encoded)."""
        partitions = frozenset(partitions)
        try:
            return await self._client.get(
                _address(url, target),
                headers=_headers(reader, partitions, headers),
                timeout=httpx.USE_CLIENT_DEFAULT if timeout_s is None else httpx.Timeout(timeout_s, connect=_CONNECT_S),
            )
        except httpx.TransportError as error:
            raise _unreachable(error, partitions) from None

    @asynccontextmanager
    async def stream(  # noqa: PLR0917 as above
        self,
        url: str,
        target: bytes,
        reader: Reader,
        partitions: Iterable[int],
        headers: Mapping[bytes, bytes],
        silence_s: float,
    ) -> AsyncIterator[httpx.Response]:
        """Open an answer without end; it ends when nothing comes for `silence_s` seconds."""
        partitions = frozenset(partitions)
        timeout = httpx.Timeout(_CONNECT_S, read=silence_s)
        try:
            async with self._streams.stream(
                "GET", _address(url, target), headers=_headers(reader, partitions, headers), timeout=timeout
            ) as response:
                yield response
        except httpx.TransportError as error:
            raise _unreachable(error, partitions) from None


def _client(connections: int | None, timeout: httpx.Timeout) -> httpx.AsyncClient:
    # trust_env: proxies of the environment are no way to a worker beside this one.
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=_CONNECTIONS)
    return httpx.AsyncClient(trust_env=False, timeout=timeout, limits=limits)


def _address(url: str, target: bytes) -> httpx.URL:
    return httpx.URL(url).copy_with(raw_path=target)


def _headers(
    reader: Reader, partitions: frozenset[int], headers: Mapping[bytes, bytes] | None
) -> list[tuple[bytes, bytes]]:
    found = [
        (b"authorization", reader.authorization),
        (HOP, ",".join(map(str, sorted(partitions))).encode()),
        (b"accept-encoding", b"identity"),
    ]
    return found + list((headers or {}).items())


def _unreachable(error: httpx.TransportError, partitions: frozenset[int]) -> ProblemError:
    return not_ready(f"the partition's worker does not answer ({type(error).__name__})", partitions)
