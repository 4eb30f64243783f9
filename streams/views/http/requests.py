"""Counts requests, and measures the time to the first byte of the answer."""

import time
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams.metrics import Metrics
from streams.views.http.reads import Reads

#: Requests to unknown paths, and those refused before routing.
OTHER = "other"


class Requests:
    """ASGI application around another one, which stores its chosen endpoint in the scope."""

    def __init__(self, app: ASGIApp, metrics: Metrics, endpoints: Mapping[Any, str], reads: Reads) -> None:
        """Measure `app`; `endpoints` are the documented paths of its endpoints.

        `reads` answers some requests before they get here, see ReadProtocol; it counts them itself.
        """
        self.reads = reads
        self._app = app
        self._metrics = metrics
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request."""
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
