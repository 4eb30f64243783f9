"""Who sends a request, and what they may see: a token in the Authorization header, or in the cookie of the page."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from openbsp.http.refusals import NOT_FOUND
from openbsp.http.tokens import unauthorized
from openbsp.http.tokens.access import Access
from openbsp.http.tokens.token_set import Token
from streams.views.problems import ProblemError, problem
from streams.views.refusals import NOT_PERMITTED

COOKIE = "openbsp_views"

#: Headers of requests between workers: the requested partitions, the seconds to wait for contributions, and the seconds
#: to wait for partitions to become ready.
HOP = b"openbsp-partitions"
SYNC = b"openbsp-sync"
WAIT = b"openbsp-wait"

_USED = frozenset({b"authorization", b"if-none-match", HOP, SYNC, WAIT})

#: Under these paths nothing is protected by a token.
_OPEN = frozenset({"/", "/session", "/healthz", "/readyz", "/openapi.json"})
_OPEN_PREFIX = "/static/"

METRICS = "/metrics"


class Reader(Struct, frozen=True):
    """An authenticated client and its request.

    `authorization` is the header's value, for requests to other workers; `if_none_match` that header. `partitions` are
    those that another worker requests in the reader's name. `sync_s` is how long this one may wait for contributions of
    messages to conversations (`streams.views.read.applied`); None: no worker asks, or there is nothing to wait for.
    `wait_s` is how long it may wait for partitions to become ready; None: no worker asks, or one that does not wait.
    """

    token: Token
    authorization: bytes
    if_none_match: str | None = None
    partitions: frozenset[int] | None = None
    sync_s: float | None = None
    wait_s: float | None = None

    @property
    def organizations(self) -> frozenset[str] | None:
        """The visible organizations; None: all, and rows of no organization."""
        return self.token.organizations

    def may_see(self, organization: str | None) -> bool:
        """Return whether rows of an organization (None: unknown) are visible."""
        return self.token.may_see(organization)

    def need_all(self) -> None:
        """Raise ProblemError if the token is bound to organizations."""
        if self.token.organizations is not None:
            raise ProblemError(NOT_PERMITTED, "this requires a token that is not bound to organizations")


class Authentication:
    """ASGI middleware: admits requests with a valid token, others only where none is needed."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        """Guard `app`. The metrics token gives access to the metrics only."""
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request, or refuse it."""
        if scope["type"] == "http":
            reader = self._reader(scope)
            if reader is not None:
                scope["reader"] = reader
            elif not self._is_open(scope):
                error = ProblemError(unauthorized.REASON, unauthorized.DETAIL_WITH_PAGE)
                await problem(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        path = scope["path"]
        if path == METRICS:
            return self._access.may_observe(dict(scope["headers"]).get(b"authorization"))
        return path in _OPEN or path.startswith(_OPEN_PREFIX)

    def _reader(self, scope: Scope) -> Reader | None:
        given = {name: value for name, value in scope["headers"] if name in _USED}
        authorization = given.get(b"authorization") or _of_cookies(scope)
        token = self._access.authenticate(authorization)
        if token is None or authorization is None:
            return None
        if given.keys() <= {b"authorization"}:
            return Reader(token, authorization)
        tags = given.get(b"if-none-match")
        return Reader(
            token,
            authorization,
            None if tags is None else tags.decode("latin-1"),
            _numbers(given.get(HOP)),
            _seconds(given.get(SYNC)),
            _seconds(given.get(WAIT)),
        )


def authorization_of(scope: Mapping[str, Any]) -> bytes | None:
    """Return the Authorization of a request: the header, or the equivalent of the page's cookie."""
    given = dict(scope["headers"]).get(b"authorization")
    return given or _of_cookies(scope)


def reader_of(request: Request) -> Reader:
    """Return the request's reader; only for paths that need a token."""
    reader: Reader = request.scope["reader"]
    return reader


def not_found(kind: str, key: str) -> ProblemError:
    """Return the answer for unknown and for invisible rows: they must not differ."""
    return ProblemError(NOT_FOUND, f"no {kind} has the id {key!r}")


def cookie_value(token: str) -> str:
    """Return the text of the cookie that carries a token."""
    return base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def _of_cookies(scope: Mapping[str, Any]) -> bytes | None:
    cookies = b";".join(value for name, value in scope["headers"] if name == b"cookie")
    for cookie in cookies.split(b";"):
        name, _, value = cookie.strip().partition(b"=")
        if name == COOKIE.encode():
            try:
                return b"Bearer " + base64.urlsafe_b64decode(value + b"=" * (-len(value) % 4))
            except binascii.Error:
                return None
    return None


def _numbers(header: bytes | None) -> frozenset[int] | None:
    if header is None:
        return None
    return frozenset(int(number) for number in header.split(b",") if number.isdigit() and len(number) < 10)  # noqa: PLR2004


def _seconds(header: bytes | None) -> float | None:
    try:
        return None if header is None else float(header)
    except ValueError:
        return None
