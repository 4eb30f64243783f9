"""Requests to other workers, with the caller's own token, so that they apply its access rights themselves.

A request from another worker is never forwarded: ownership may have changed in between, and two workers that take each
other for the owner would ask each other endlessly.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property

import aiohttp
from yarl import URL

from streams.views.access import HOP, WAIT, Reader
from streams.views.cluster.waits import Changes
from streams.views.problems import ProblemError, not_ready

_CONNECT_S = 1.0
_CONNECTIONS = 64
#: An unreachable worker is tried again after this long, by one request; the others wait for its result.
_AWAY_S = 0.5
#: Errors of a kept connection that the other worker closes at that very moment.
_BROKEN = (aiohttp.ClientOSError, aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)


@dataclass(frozen=True, slots=True)
class Answered:
    """Another worker's whole answer."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class _Peer:
    """The state of one other worker."""

    def __init__(self) -> None:
        #: The time limits of requests in progress.
        self.limits: set[asyncio.Timeout] = set()
        #: The last attempt to reach it failed.
        self.away = False
        #: Not to be asked: an attempt just failed, or one request is trying it.
        self.paused = False


class Peers:
    """Sends requests to other workers over kept connections. All errors are ProblemError: not_ready."""

    def __init__(self, timeout_s: float, changes: Changes) -> None:
        """Connect to nothing yet; an answer may take `timeout_s`, plus the time for which the other worker may wait."""
        self._timeout_s = timeout_s
        self._changes = changes
        self._peers: dict[str, _Peer] = {}

    @cached_property
    def _client(self) -> aiohttp.ClientSession:
        # The time that an answer takes is limited by `ask`.
        return _session(_CONNECTIONS)

    @cached_property
    def _streams(self) -> aiohttp.ClientSession:
        return _session(0)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()
        await self._streams.close()

    async def ask(
        self,
        url: str,
        target: bytes,
        reader: Reader,
        partitions: Iterable[int] | None,
        headers: Mapping[bytes, bytes] | None = None,
        *,
        until: float = 0.0,
        timeout_s: float | None = None,
    ) -> Answered:
        """Return the answer of the worker at `url` to a GET of `target` (path and query, encoded).

        `partitions`: asked as their owner; None: asked in place of this worker. The worker may wait until `until`
        (`time.monotonic`) for its partitions to become ready, then answer within `timeout_s`.
        """
        peer = self._peers.setdefault(url, _Peer())
        asked = frozenset(partitions or ())
        if peer.paused:
            raise not_ready("the partition's worker cannot be reached", asked)
        peer.paused = trying = peer.away
        wait_s = max(0.0, until - time.monotonic())
        given = _headers(reader, None if partitions is None else asked, headers)
        given.append((WAIT.decode(), f"{wait_s:.3f}"))
        limit = asyncio.timeout(wait_s + (self._timeout_s if timeout_s is None else timeout_s))
        try:
            async with limit:
                peer.limits.add(limit)
                answer = await self._get(_address(url, target), given)
        except aiohttp.ClientError as error:
            if trying or not peer.paused:
                peer.away = peer.paused = True
                trying = False
                asyncio.get_running_loop().call_later(_AWAY_S, self._resume, peer)
            raise _unreachable(error, asked) from None
        except TimeoutError as error:
            raise _unreachable(error, asked) from None
        else:
            peer.away = False
            return answer
        finally:
            peer.limits.discard(limit)
            if trying:
                self._resume(peer)

    async def _get(self, address: URL, headers: list[tuple[str, str]]) -> Answered:
        try:
            return await self._get_once(address, headers)
        except aiohttp.ClientConnectorError:
            raise
        except _BROKEN:
            return await self._get_once(address, headers)

    async def _get_once(self, address: URL, headers: list[tuple[str, str]]) -> Answered:
        async with self._client.get(address, headers=headers, allow_redirects=False) as response:
            return Answered(response.status, response.headers, await response.read())

    def _resume(self, peer: _Peer) -> None:
        peer.paused = False
        self._changes.changed()

    def reassigned(self, owners: Collection[str]) -> None:
        """Stop waiting for workers that own nothing any more: they may never answer. Try all others."""
        for url in self._peers.keys() - set(owners):
            for limit in self._peers.pop(url).limits:
                if not limit.expired():
                    limit.reschedule(0.0)
        for peer in self._peers.values():
            peer.away = peer.paused = False

    @asynccontextmanager
    async def stream(  # noqa: PLR0917 whom, for what, in whose name
        self,
        url: str,
        target: bytes,
        reader: Reader,
        partitions: Iterable[int],
        headers: Mapping[bytes, bytes],
        silence_s: float,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open an endless answer; it ends when nothing arrives for `silence_s` seconds."""
        partitions = frozenset(partitions)
        timeout = aiohttp.ClientTimeout(sock_connect=_CONNECT_S, sock_read=silence_s)
        try:
            async with self._streams.get(
                _address(url, target),
                headers=_headers(reader, partitions, headers),
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                yield response
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(error, partitions) from None


def _session(connections: int) -> aiohttp.ClientSession:
    """Return a client that keeps connections, at most so many to a worker (0: any number)."""
    return aiohttp.ClientSession(
        # Trap: a restarted worker may have another address under its name.
        connector=aiohttp.TCPConnector(limit=0, limit_per_host=connections, use_dns_cache=False),
        timeout=aiohttp.ClientTimeout(sock_connect=_CONNECT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent",),
    )


def _address(url: str, target: bytes) -> URL:
    return URL(url.rstrip("/") + target.decode("ascii"), encoded=True)


def _headers(
    reader: Reader, partitions: frozenset[int] | None, headers: Mapping[bytes, bytes] | None
) -> list[tuple[str, str]]:
    found = [("authorization", reader.authorization.decode("latin-1")), ("accept-encoding", "identity")]
    if partitions is not None:
        found.append((HOP.decode(), ",".join(map(str, sorted(partitions)))))
    return found + [(name.decode(), value.decode("latin-1")) for name, value in (headers or {}).items()]


def _unreachable(error: Exception, partitions: frozenset[int]) -> ProblemError:
    return not_ready(f"the partition's worker does not answer ({type(error).__name__})", partitions)
