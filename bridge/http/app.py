"""The ASGI application: webhooks first, everything else by Starlette."""

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from avro.asyncapi import document as asyncapi_document
from bridge.http import health
from bridge.http.ingress import Receive, Send
from bridge.http.openapi import document
from bridge.http.parts import Service
from bridge.http.webhook import PATHS, Scope, caller_of
from openbsp.http.problems import problem, response
from openbsp.http.refusals import INTERNAL_ERROR, METHOD_NOT_ALLOWED, NOT_FOUND
from openbsp.http.tokens import unauthorized


class App:
    """An ASGI application around a running service."""

    def __init__(self, service: Service) -> None:
        """Build the routes."""
        self.webhooks = service.ingress
        self._rest = _rest(service)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request when it is awaited."""
        if scope["type"] == "http" and scope["path"] in PATHS:
            return self.webhooks(scope, receive, send)
        return self._rest(scope, receive, send)


def _rest(service: Service) -> Starlette:
    openapi = document()
    asyncapi = asyncapi_document(version("openbsp-stream-bridge"), service.naming)

    def may_observe(request: Request, endpoint: str) -> bool:
        given = request.headers.get("authorization")
        authorization = None if given is None else given.encode("latin-1")
        access = service.access
        allowed = access.may_observe(authorization) or access.authenticate(authorization) is not None
        if not allowed and authorization is not None:
            caller = caller_of(authorization, request.headers.get("user-agent", "").encode("latin-1"))
            service.metrics.unauthorized.labels(endpoint, caller).inc()
        return allowed

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(request: Request) -> Response:
        observer = may_observe(request, "/readyz")
        await health.refresh(service, seldom=not observer)
        content: dict[str, Any] = {"status": health.state(service)}
        if observer:
            content |= health.details(service)
        return JSONResponse(content, 503 if content["status"] == "unready" else 200, {"cache-control": "no-store"})

    async def metrics(request: Request) -> Response:
        if not may_observe(request, "/metrics"):
            return response(problem(unauthorized.REASON, unauthorized.DETAIL))
        return Response(generate_latest(await health.measured(service)), media_type=CONTENT_TYPE_LATEST)

    async def openapi_json(_: Request) -> Response:
        return JSONResponse(openapi)

    async def asyncapi_json(_: Request) -> Response:
        return JSONResponse(asyncapi)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/openapi.json", openapi_json),
            Route("/asyncapi.json", asyncapi_json),
        ],
        exception_handlers={HTTPException: _misdirected(service), 500: _internal_error},
    )


def _misdirected(service: Service) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        """Refuse an unknown path or method. It may be a lost webhook."""
        method, path = request.method, request.url.path
        exists = isinstance(error, HTTPException) and error.status_code == METHOD_NOT_ALLOWED.status
        reason = METHOD_NOT_ALLOWED if exists else NOT_FOUND
        service.requests.add_misdirected(reason, method, path, request.client.host if request.client else None)
        if exists and isinstance(error, HTTPException):
            allow = (error.headers or {}).get("Allow", "GET")
            return response(problem(reason, "this path allows GET only", allow=allow))
        return response(problem(reason, "webhooks go to POST /webhooks"))

    return answer


async def _internal_error(_: Request, __: Exception) -> Response:
    return response(problem(INTERNAL_ERROR, "see the log of the bridge for the error"))
