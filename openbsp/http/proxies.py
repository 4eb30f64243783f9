"""The client of a request that comes through a reverse proxy."""

import os
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware


class Proxies:
    """Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted: FORWARDED_ALLOW_IPS, else this machine.

    uvicorn's middleware as a plain call, which saves requests another application.
    """

    def __init__(self) -> None:
        """Read the addresses from the environment."""
        allowed = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
        self._trusted = ProxyHeadersMiddleware(_nothing, allowed).trusted_hosts

    def trust(self, host: str) -> bool:
        """Return whether headers of requests from there are trusted."""
        return host in self._trusted

    def name_client(self, scope: Any) -> None:
        """Set the client and the scheme that a trusted proxy names in the request's scope."""
        addresses = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                addresses.append(value)
            elif name == b"x-forwarded-proto" and value.strip() in {b"http", b"https"}:
                scope["scheme"] = value.strip().decode()
        if addresses:
            host, port = self._trusted.get_trusted_client_address(b", ".join(addresses).decode("latin-1"))
            if host:
                scope["client"] = (host, port)


async def _nothing(*_: object) -> None:
    """Do nothing: a middleware requires an application."""
