"""Refusals that both services have, with the same texts. Each service adds its own."""

from openbsp.http.problems import Reason
from openbsp.http.tokens import unauthorized

UNAUTHORIZED = unauthorized.REASON
NOT_FOUND = Reason("not_found", 404, "Not found", "Nothing is served at this path, or nothing the token may see.")
METHOD_NOT_ALLOWED = Reason(
    "method_not_allowed",
    405,
    "Method not allowed",
    "The path does not support this method; `Allow` lists what it does.",
)
BODY_TIMEOUT = Reason("body_timeout", 408, "Body time-out", "The body did not arrive in time.")
TOO_LARGE = Reason("too_large", 413, "Body too large", "The body is larger than the limit.")
UNSUPPORTED_MEDIA_TYPE = Reason(
    "unsupported_media_type", 415, "Unsupported media type", "The body is not declared to be plain JSON."
)
MALFORMED_REQUEST = Reason(
    "malformed_request", 400, "Malformed request", "Not a valid HTTP/1.1 request, or one with `Upgrade`."
)
HEAD_TOO_LARGE = Reason(
    "head_too_large", 431, "Head too large", "Request line and headers together are larger than the limit."
)
INTERNAL_ERROR = Reason("internal_error", 500, "Internal error", "A fault of the server; its log has the details.")
TOO_MANY_CONNECTIONS = Reason(
    "too_many_connections", 503, "Too many connections", "The process has as many connections as its limit allows."
)
