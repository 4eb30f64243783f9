"""Every refusal of the views has one reason: the same word in the answer, the log and the documentation."""

from openbsp.http.problems import Reason, by_code
from openbsp.http.reasons import (
    BODY_TIMEOUT,
    HEAD_TOO_LARGE,
    INTERNAL_ERROR,
    MALFORMED_REQUEST,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    TOO_LARGE,
    TOO_MANY_CONNECTIONS,
    UNAUTHORIZED,
    UNSUPPORTED_MEDIA_TYPE,
)

__all__ = [
    "BODY_TIMEOUT",
    "CROSS_SITE",
    "HEAD_TOO_LARGE",
    "INTERNAL_ERROR",
    "INVALID_PARAMETER",
    "MALFORMED_REQUEST",
    "MALFORMED_SESSION",
    "METHOD_NOT_ALLOWED",
    "NOT_APPLIED",
    "NOT_FOUND",
    "NOT_PERMITTED",
    "NOT_READY",
    "REASONS",
    "TOO_LARGE",
    "TOO_MANY_ATTEMPTS",
    "TOO_MANY_CONNECTIONS",
    "TOO_MANY_STREAMS",
    "UNAUTHORIZED",
    "UNSUPPORTED_MEDIA_TYPE",
]

INVALID_PARAMETER = Reason(
    "invalid_parameter", 400, "Invalid parameter", "A parameter is unknown, given twice, or has no usable value."
)
NOT_PERMITTED = Reason(
    "not_permitted", 403, "Not permitted", "The token is bound to organizations, and this is about all of them."
)
MALFORMED_SESSION = Reason("malformed_session", 400, "Malformed sign-in", 'The body is not `{"token": "..."}`.')
CROSS_SITE = Reason("cross_site", 403, "Cross-site request", "Another site's page tried to sign in or out.")
TOO_MANY_ATTEMPTS = Reason(
    "too_many_attempts", 429, "Too many attempts", "Too many wrong tokens came from the address; wait."
)
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
    BODY_TIMEOUT,
    TOO_MANY_ATTEMPTS,
    MALFORMED_REQUEST,
    HEAD_TOO_LARGE,
    INTERNAL_ERROR,
    NOT_READY,
    NOT_APPLIED,
    TOO_MANY_STREAMS,
    TOO_MANY_CONNECTIONS,
)
