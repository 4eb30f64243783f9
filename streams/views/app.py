"""The HTTP side of a worker: tokens in front, tables behind."""

import base64
import binascii
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
from msgspec import DecodeError, ValidationError, msgpack
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from avro.jsontext import encode
from avro.tokens import TokenSet
from streams.settings import StreamsSettings
from streams.state import contribution as contributions
from streams.views import render
from streams.views.problems import problem
from streams.views.tables import NotOwnedError, NotReadyError, Tables

_OPEN = frozenset({"/healthz", "/readyz"})
_OWNER_TIMEOUT_S = 5.0
#: Marks a request that another worker passes on; it is answered or refused, never passed on again.
_HOP = "x-openbsp-hop"
_PASSED_ON = ("authorization", "if-none-match")
_PASSED_BACK = ("content-type", "etag", "cache-control", "retry-after", "www-authenticate")
_DEFAULT_LIMIT = 50
_MOST = 500


class _Authentication:
    """Lets nothing in without a token, but for the questions whether the process lives and is ready."""

    def __init__(self, app: ASGIApp, tokens: TokenSet) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _OPEN:
            given = next((value for name, value in scope["headers"] if name == b"authorization"), None)
            token = self._tokens.authenticate(given)
            if token is None:
                refusal = problem(
                    401, "unauthorized", "send `Authorization: Bearer <token>`", {"WWW-Authenticate": "Bearer"}
                )
                await refusal(scope, receive, send)
                return
            scope["token"] = token
        await self._app(scope, receive, send)


class _Owner:
    """Asks the worker that owns a key, with the caller's own token."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(timeout=_OWNER_TIMEOUT_S, trust_env=False) as self._client:
            yield

    async def ask(self, request: Request, url: str) -> Response:
        """Return the owner's answer as it is, or 503 if it does not answer."""
        if self._client is None:
            return _not_ready("the views are starting")
        passed = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        try:
            answer = await self._client.get(f"{url.rstrip('/')}{_raw_target(request)}", headers={**passed, _HOP: "1"})
        except httpx.TransportError as error:
            return _not_ready(f"the worker that owns the key does not answer: {type(error).__name__}")
        kept = {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
        return Response(answer.content, answer.status_code, kept)


def _raw_target(request: Request) -> str:
    path = request.scope["raw_path"].decode("ascii")
    query = request.scope["query_string"].decode("ascii")
    return f"{path}?{query}" if query else path


def create_app(settings: StreamsSettings, tables: Tables) -> Starlette:  # noqa: C901 one closure for each route
    """Build the app; it answers 503 until `tables` has a worker that is ready."""
    owner = _Owner()

    async def healthz(_: Request) -> Response:
        return Response(b'{"status":"alive"}', media_type="application/json")

    async def readyz(_: Request) -> Response:
        if tables.ready:
            return Response(b'{"status":"ready"}', media_type="application/json")
        return _not_ready("the tables are being restored or rebalanced")

    async def message(request: Request) -> Response:
        message_id = request.path_params["message_id"]
        fields = tables.message(message_id)
        if fields is None or not _may_see(request, fields):
            return problem(404, "not_found", f"no message has the id {message_id!r}")
        return _answer(request, render.message(fields))

    async def conversation(request: Request) -> Response:
        conversation_id = request.path_params["conversation_id"]
        fields = tables.conversation(conversation_id)
        if fields is None or not _may_see(request, fields):
            return problem(404, "not_found", f"no conversation has the id {conversation_id!r}")
        return _answer(request, render.conversation(fields))

    async def messages(request: Request) -> Response:
        conversation_id = request.path_params["conversation_id"]
        try:
            limit, after = _page(request)
        except ValueError as error:
            return problem(400, "bad_request", str(error))
        fields = tables.conversation(conversation_id)
        if fields is None or not _may_see(request, fields):
            return problem(404, "not_found", f"no conversation has the id {conversation_id!r}")
        found = [
            (message_id, contribution)
            for message_id, contribution in tables.messages(conversation_id)
            if after is None or contributions.sort_key(message_id, contribution) < after
        ]
        page = found[:limit]
        more = _cursor(contributions.sort_key(*page[-1])) if len(found) > limit else None
        view = {"messages": [render.conversation_message(*item) for item in page], "next_cursor": more}
        return _answer(request, view)

    async def not_ready(request: Request, error: Exception) -> Response:
        if isinstance(error, NotOwnedError) and _HOP not in request.headers:
            return await owner.ask(request, error.url)
        return _not_ready(str(error))

    async def http_error(_: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 405:  # noqa: PLR2004
            return problem(405, "method_not_allowed", "only GET is allowed", dict(error.headers or {}))
        return problem(404, "not_found", "there is nothing at this path")

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/conversations/{conversation_id}", conversation),
            Route("/conversations/{conversation_id}/messages", messages),
            Route("/messages/{message_id}", message),
        ],
        lifespan=owner.lifespan,
        middleware=[Middleware(_Authentication, tokens=settings.token_set())],
        exception_handlers={NotReadyError: not_ready, HTTPException: http_error},
    )


def _may_see(request: Request, fields: dict[str, Any]) -> bool:
    """Return whether the request's token may see a row; a bound one sees no row whose organization is unknown."""
    organizations = request.scope["token"].organizations
    return organizations is None or fields.get("organization_id") in organizations


def _not_ready(detail: str) -> Response:
    return problem(503, "not_ready", detail, {"Retry-After": "1"})


def _answer(request: Request, view: dict[str, Any]) -> Response:
    body = encode(view)
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    wanted = request.headers.get("if-none-match", "")
    if wanted.strip() == "*" or etag in {tag.strip().removeprefix("W/") for tag in wanted.split(",")}:
        return Response(None, 304, headers)
    return Response(body, 200, headers, "application/json")


def _page(request: Request) -> tuple[int, tuple[int, str] | None]:
    unknown = set(request.query_params) - {"limit", "cursor"}
    if unknown:
        raise ValueError(f"unknown parameters: {', '.join(sorted(unknown))}; known are limit and cursor")
    text = request.query_params.get("limit", str(_DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST):
        raise ValueError(f"limit is a whole number from 1 to {_MOST}")
    cursor = request.query_params.get("cursor")
    return int(text), None if cursor is None else _position(cursor)


def _cursor(position: tuple[int, str]) -> str:
    return base64.urlsafe_b64encode(msgpack.encode(position)).decode().rstrip("=")


def _position(cursor: str) -> tuple[int, str]:
    try:
        packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return msgpack.decode(packed, type=tuple[int, str])
    except (binascii.Error, DecodeError, ValidationError, ValueError):
        raise ValueError("cursor is not one that this service gave") from None
