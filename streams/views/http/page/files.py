"""Serves the files of the page: none needs a token, none makes a browser load anything from elsewhere."""

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import PurePath
from types import MappingProxyType

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
    }
)
_INDEX = "index.html"

#: With trusted types the browser itself refuses to turn text into markup.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        # Revalidated each time, so that files of two versions are never mixed; unchanged ones are not sent again.
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _POLICY,
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)


class Page:
    """The files, read once."""

    def __init__(self) -> None:
        """Read them. Raises FileNotFoundError if they were not installed with the code."""
        self._files = {
            file.name: (file.read_bytes(), media_type)
            for file in files(__package__).iterdir()
            if (media_type := _MEDIA_TYPES.get(PurePath(file.name).suffix)) is not None
        }
        if _INDEX not in self._files:
            raise FileNotFoundError("the files of the live page were not installed")
        self._tags = {name: f'"{hashlib.sha256(body).hexdigest()[:32]}"' for name, (body, _) in self._files.items()}

    def routes(self) -> list[Route]:
        """Return the routes of the page and its files."""
        return [Route("/", self._index), Route("/static/{name}", self._static)]

    async def _index(self, request: Request) -> Response:
        return self._answer(request, _INDEX)

    async def _static(self, request: Request) -> Response:
        name: str = request.path_params["name"]
        if name not in self._files or name == _INDEX:
            raise HTTPException(404)
        return self._answer(request, name)

    def _answer(self, request: Request, name: str) -> Response:
        body, media_type = self._files[name]
        headers = {**_HEADERS, "ETag": self._tags[name]}
        known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if self._tags[name] in known or "*" in known:
            return Response(None, 304, headers)
        return Response(body, 200, {**headers, "Content-Type": media_type})
