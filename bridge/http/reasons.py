"""Every refusal has one reason: the same word in the answer, the log line, the metric and the dead letter."""

from openbsp.http.problems import Reason, by_code

UNAUTHORIZED = Reason("unauthorized", 401, "Unauthorized", "The bearer token is absent or wrong.")
WRONG_ORGANIZATION = Reason(
    "wrong_organization", 403, "Wrong organization", "The token is bound to other organizations than the row's."
)
MALFORMED_JSON = Reason(
    "malformed_json", 400, "Malformed JSON", "The body is not JSON, not UTF-8, has NaN in it, or nests too deep."
)
MALFORMED_REQUEST = Reason(
    "malformed_request", 400, "Malformed request", "Not HTTP/1.1 as the bridge speaks it, such as one with `Upgrade`."
)
HEAD_TOO_LARGE = Reason(
    "head_too_large", 431, "Head too large", "Request line and headers are larger than the bridge takes."
)
NOT_FOUND = Reason("not_found", 404, "Not found", "There is nothing under this path.")
METHOD_NOT_ALLOWED = Reason(
    "method_not_allowed", 405, "Method not allowed", "The path does not take this method; `Allow` names those it does."
)
BODY_TIMEOUT = Reason("body_timeout", 408, "Body time-out", "The body did not arrive in time.")
TOO_LARGE = Reason("too_large", 413, "Body too large", "The body is larger than the bridge takes.")
UNSUPPORTED_MEDIA_TYPE = Reason(
    "unsupported_media_type", 415, "Unsupported media type", "The body is not declared to be plain JSON."
)
INVALID_EVENT = Reason(
    "invalid_event", 422, "Not an event", "Authentic, but not an event. It is kept as a dead letter."
)
UNSUPPORTED_ENTITY = Reason(
    "unsupported_entity",
    422,
    "Unsupported entity",
    "The entity is not in the catalogue. Nothing of its data is kept anywhere.",
)
INTERNAL_ERROR = Reason("internal_error", 500, "Internal error", "The bridge has a fault; the event was not kept.")
NOT_STORED = Reason(
    "not_stored", 503, "Not stored", "Neither Kafka nor the spool took the event in time. It was not accepted."
)
OVERLOADED = Reason("overloaded", 503, "Overloaded", "More requests at once than the bridge takes. Nothing was read.")

REASONS = by_code(
    MALFORMED_JSON,
    MALFORMED_REQUEST,
    UNAUTHORIZED,
    WRONG_ORGANIZATION,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    BODY_TIMEOUT,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    INVALID_EVENT,
    UNSUPPORTED_ENTITY,
    HEAD_TOO_LARGE,
    INTERNAL_ERROR,
    NOT_STORED,
    OVERLOADED,
)

#: Reasons that only dead letters have: the event was accepted, and later found not to be publishable.
BROKER_REFUSED = "broker_refused"
SPOOL_AGE_LIMIT = "spool_age_limit"
