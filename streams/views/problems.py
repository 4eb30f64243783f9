"""Errors as RFC 9457 problem details."""

from starlette.responses import Response

from avro.jsontext import encode

_TITLES = {
    "bad_request": "The request is not understood",
    "unauthorized": "A token is needed",
    "not_found": "There is no such thing",
    "method_not_allowed": "The method is not allowed",
    "not_ready": "The tables are not ready",
}


def problem(status: int, reason: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return a problem response; `reason` is stable, `detail` is for people."""
    body = {"type": "about:blank", "title": _TITLES[reason], "status": status, "detail": detail, "reason": reason}
    return Response(encode(body), status, headers, "application/problem+json")
