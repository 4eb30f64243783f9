"""Counts the requests, and measures how long the first of an answer takes."""

import time
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams.metrics import Metrics

#: Requests to paths that there are not, and those refused before anybody looked at the path.
OTHER = "other"


class Requests:
    """ASGI application around another one, which leaves in the scope which endpoint it has chosen."""

    def __init__(self, app: ASGIApp, metrics: Metrics, endpoints: Mapping[Any, str]) -> None:
        """Measure `app`; `endpoints` has the paths of its endpoints as they are documented."""
        self._app = app
        self._metrics = metrics
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                endpoint = self._endpoints.get(scope.get("endpoint"), OTHER)
                self._metrics.requests.add(endpoint, str(message["status"]))
                self._metrics.request_seconds.observe(time.perf_counter() - began, endpoint)
            await send(message)

        await self._app(scope, receive, sending)
