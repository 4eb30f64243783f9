"""Signing in: a token becomes a cookie that scripts cannot read and other sites' pages cannot use.

The cookie carries the token itself, so every worker accepts it and none has to store it. It is good for reading only;
other sites cannot set it, because sending JSON here requires a CORS preflight.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from msgspec import DecodeError, Struct
from msgspec.json import Decoder
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from avro.jsontext import encode
from openbsp.http.refusals import TOO_LARGE, UNSUPPORTED_MEDIA_TYPE
from openbsp.http.tokens import unauthorized
from openbsp.http.tokens.token_set import Token
from openbsp.log import event
from streams.views.access import COOKIE, cookie_value
from streams.views.problems import ProblemError, problem
from streams.views.refusals import CROSS_SITE, MALFORMED_SESSION, TOO_MANY_ATTEMPTS

PATH = "/session"
#: Seconds after which one has to sign in again.
LIFETIME_S = 12 * 3600
MOST_BYTES = 4096

#: Wrong tokens that an address may send in a row, and the seconds after which it may send one more.
ATTEMPTS = 10
REFILL_S = 6.0
_ADDRESSES = 10_000

_JSON = "application/json"

Authenticate = Callable[[bytes | None], Token | None]

logger = logging.getLogger(__name__)


class _SignIn(Struct, forbid_unknown_fields=True):
    token: str


_decode = Decoder(_SignIn).decode


class Attempts:
    """Limits the wrong attempts of each address. Only the latest addresses are remembered."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with no address; `clock` returns seconds."""
        self._clock = clock
        #: When each address has all its attempts back.
        self._whole_at: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Return the seconds until the address may try again, 0 for now."""
        return max(0.0, self._whole_at.get(address, 0.0) - self._clock() - (ATTEMPTS - 1) * REFILL_S)

    def failed(self, address: str) -> None:
        """Count a wrong token."""
        self._whole_at[address] = max(self._whole_at.get(address, 0.0), self._clock()) + REFILL_S
        self._whole_at.move_to_end(address)
        if len(self._whole_at) > _ADDRESSES:
            self._whole_at.popitem(last=False)


class Sessions:
    """The endpoints under `PATH`. None of them needs a token; they raise ProblemError."""

    def __init__(self, authenticate: Authenticate, attempts: Attempts | None = None) -> None:
        """`authenticate` returns the token of an Authorization header's value."""
        self._authenticate = authenticate
        self._attempts = attempts or Attempts()

    def routes(self) -> list[Route]:
        """Return the routes."""
        methods = {"GET": self.who, "HEAD": self.who, "POST": self.sign_in, "DELETE": self.sign_out}

        async def session(request: Request) -> Response:
            return await methods[request.method](request)

        return [Route(PATH, session, methods=list(methods))]

    async def who(self, request: Request) -> Response:
        """GET: return who is signed in, `null` without a session."""
        reader = request.scope.get("reader")
        return _answer(None if reader is None else reader.token)

    async def sign_in(self, request: Request) -> Response:
        """POST: set the cookie for the token in the body, `{"token": "..."}`, and return whose it is."""
        _same_site(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
            raise ProblemError(UNSUPPORTED_MEDIA_TYPE, f"send {_JSON}")
        try:
            given = _decode(await _body(request)).token.strip()
        except DecodeError:
            raise ProblemError(MALFORMED_SESSION, 'send {"token": "..."}') from None
        token = self._authenticate(b"Bearer " + given.encode())
        if token is None:
            # After the token check, not before: many may share an address, and a valid token is no guess.
            address = request.client.host if request.client else ""
            wait_s = self._attempts.wait_s(address)
            if wait_s:
                error = ProblemError(TOO_MANY_ATTEMPTS, "too many wrong tokens came from this address; wait")
                return problem(error, retry_after_s=int(wait_s) + 1)
            self._attempts.failed(address)
            refused = event("session.refused", client=address)
            logger.warning("sign-in from %s refused: wrong token", address, extra=refused)
            raise ProblemError(unauthorized.REASON, unauthorized.DETAIL_OF_SIGN_IN)
        logger.info("signed in with token %s", token.name, extra=event("session.opened", token=token.name))
        answer = _answer(token)
        _set_cookie(request, answer, cookie_value(given), LIFETIME_S)
        return answer

    async def sign_out(self, request: Request) -> Response:
        """DELETE: clear the cookie."""
        _same_site(request)
        answer = Response(None, 204, {"Cache-Control": "no-store"})
        _set_cookie(request, answer, "", 0)
        return answer


def _answer(token: Token | None) -> Response:
    reader = None
    if token is not None:
        organizations = None if token.organizations is None else sorted(token.organizations)
        reader = {"name": token.name, "organizations": organizations}
    return Response(encode({"reader": reader}), 200, {"Cache-Control": "no-store"}, _JSON)


def _set_cookie(request: Request, answer: Response, value: str, max_age: int) -> None:
    answer.set_cookie(
        COOKIE, value, max_age=max_age, secure=request.url.scheme == "https", httponly=True, samesite="strict"
    )


def _same_site(request: Request) -> None:
    """Raise ProblemError if the browser's headers name another site."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    # Only the host is compared: behind a proxy the scheme is that of the last hop.
    if site not in {None, "same-origin", "none"} or (
        origin is not None and origin.partition("://")[2] != request.headers.get("host")
    ):
        raise ProblemError(CROSS_SITE, "sign in and out on the page of this server")


async def _body(request: Request) -> bytes:
    body = b""
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_BYTES:
                raise ProblemError(TOO_LARGE, f"the body is larger than {MOST_BYTES} bytes")
    except ClientDisconnect:
        raise ProblemError(MALFORMED_SESSION, "the body is incomplete") from None
    return body
