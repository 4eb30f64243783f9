"""What surrounds the worker, for the live page: the bridge's spool and dead letters, and the states' completeness."""

import asyncio
import time
from functools import cached_property

import httpx
import msgspec
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streams.views.access import reader_of
from streams.views.http.completeness import Audits, Completeness

PATH = "/pipeline"
TIMEOUT_S = 2.0
#: The bridge is asked at most this often, whatever the number of open pages.
KEPT_S = 2.0


class Bridge(Struct):
    """The bridge's metrics; all numbers are null while it does not answer."""

    answers: bool
    spool_events: int | None = None
    spool_bytes: int | None = None
    spool_oldest_seconds: float | None = None
    dead_letters: int | None = None


class State(Struct):
    """The answer; `bridge` is null if none is configured, `completeness` if there are no audits."""

    bridge: Bridge | None
    completeness: Completeness | None


class Pipeline:
    """Asks the bridge at the configured address only; and the audits."""

    def __init__(self, bridge_url: str | None, bridge_token: SecretStr | None, audits: Audits) -> None:
        """Connect to nothing yet."""
        self._audits = audits
        self._url = None if bridge_url is None else bridge_url.rstrip("/") + "/metrics"
        self._token = bridge_token
        self._lock = asyncio.Lock()
        self._known = Bridge(answers=False)
        self._known_until = 0.0

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route(PATH, self.show)]

    async def show(self, request: Request) -> Response:
        """GET: return the state of both. Raises ProblemError for tokens that are bound to organizations."""
        reader_of(request).need_all()
        state = State(*await asyncio.gather(self._bridge(), self._audits.completeness()))
        body = msgspec.json.encode(state)
        return Response(body, 200, {"Cache-Control": "no-store"}, "application/json")

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        token = None if self._token is None else self._token.get_secret_value()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(timeout=TIMEOUT_S, headers=headers, trust_env=False)

    async def _bridge(self) -> Bridge | None:
        if self._url is None:
            return None
        async with self._lock:
            if time.monotonic() >= self._known_until:
                self._known = await self._ask(self._url)
                self._known_until = time.monotonic() + KEPT_S
            return self._known

    async def _ask(self, url: str) -> Bridge:
        try:
            answer = await self._client.get(url)
            answer.raise_for_status()
            sums: dict[str, float] = {}
            for family in text_string_to_metric_families(answer.text):
                for sample in family.samples:
                    sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
            return Bridge(
                answers=True,
                spool_events=int(sums["bridge_spool_events"]),
                spool_bytes=int(sums["bridge_spool_bytes"]),
                spool_oldest_seconds=sums["bridge_spool_oldest_seconds"],
                dead_letters=int(sums.get("bridge_dead_letters_total", 0)),
            )
        except (httpx.HTTPError, ValueError, OverflowError, KeyError):
            # Not reachable, or not a bridge that accepts this worker's token: the page shows that it does not answer.
            return Bridge(answers=False)
