"""Every refusal of the views has one reason: the same word in the answer, the log and the documentation."""

from openbsp.http.problems import Reason, by_code

INVALID_PARAMETER = Reason(
    "invalid_parameter", 400, "Invalid parameter", "A parameter is unknown, given twice, or has no usable value."
)
UNAUTHORIZED = Reason("unauthorized", 401, "Unauthorized", "The token is absent or wrong.")
NOT_PERMITTED = Reason(
    "not_permitted", 403, "Not permitted", "The token is bound to organizations, and this is about all of them."
)
NOT_FOUND = Reason("not_found", 404, "Not found", "There is no such thing, or none that the token may see.")
METHOD_NOT_ALLOWED = Reason(
    "method_not_allowed", 405, "Method not allowed", "The path does not take this method; `Allow` names those it does."
)
MALFORMED_SESSION = Reason("malformed_session", 400, "Malformed sign-in", 'The body is not `{"token": "..."}`.')
CROSS_SITE = Reason("cross_site", 403, "Cross-site request", "Another site's page tried to sign in or out.")
TOO_LARGE = Reason("too_large", 413, "Too large", "The body has more bytes than a sign-in needs.")
UNSUPPORTED_MEDIA_TYPE = Reason("unsupported_media_type", 415, "Unsupported media type", "The body is not JSON.")
TOO_MANY_ATTEMPTS = Reason(
    "too_many_attempts", 429, "Too many attempts", "Too many wrong tokens came from the address; wait."
)
MALFORMED_REQUEST = Reason("malformed_request", 400, "Malformed request", "What came is no HTTP request.")
HEAD_TOO_LARGE = Reason(
    "head_too_large", 431, "Request header fields too large", "Request line and headers have too many bytes."
)
INTERNAL_ERROR = Reason("internal_error", 500, "Internal error", "The worker has a fault; its log says which.")
NOT_READY = Reason(
    "not_ready",
    503,
    "Not ready",
    "A partition has no worker that has read all of it yet. Nothing old or partial is shown instead.",
)
NOT_APPLIED = Reason(
    "not_applied", 503, "Not applied in time", "The record that `after` names was not applied before the deadline."
)
TOO_MANY_STREAMS = Reason(
    "too_many_streams", 503, "Too many streams", "The worker serves as many event streams as it may."
)
TOO_MANY_CONNECTIONS = Reason(
    "too_many_connections", 503, "Too many connections", "The worker has as many connections as it may."
)

REASONS = by_code(
    INVALID_PARAMETER,
    UNAUTHORIZED,
    NOT_PERMITTED,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    MALFORMED_SESSION,
    CROSS_SITE,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    TOO_MANY_ATTEMPTS,
    MALFORMED_REQUEST,
    HEAD_TOO_LARGE,
    INTERNAL_ERROR,
    NOT_READY,
    NOT_APPLIED,
    TOO_MANY_STREAMS,
    TOO_MANY_CONNECTIONS,
)
