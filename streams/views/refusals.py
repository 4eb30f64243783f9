"""Every refusal of the views has one reason: the same code in the answer, the log and the documentation.

Those that the bridge has as well are in `openbsp/http/refusals.py`; that for an unknown token, with its answer, in
`openbsp/http/tokens/unauthorized.py`.
"""

from openbsp.http import refusals
from openbsp.http.problems import Reason, by_code

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
TOO_MANY_STREAMS = Reason("too_many_streams", 503, "Too many streams", "The worker has reached STREAMS_EVENT_STREAMS.")

REASONS = by_code(vars(refusals), globals())
