"""Every refusal has one reason: the same code in the answer, the log line, the metric and the dead letter.

Here are those of webhooks. Those that both services have are in `openbsp/http/refusals.py`; that for an unknown token,
with its answer, in `openbsp/http/tokens/unauthorized.py`.
"""

from bridge.suppressions import hashes
from openbsp.http import refusals
from openbsp.http.problems import Reason, by_code

WRONG_ORGANIZATION = Reason(
    "wrong_organization", 403, "Wrong organization", "The token is bound to other organizations than the row's."
)
MALFORMED_JSON = Reason(
    "malformed_json", 400, "Malformed JSON", "The body is not JSON, not UTF-8, has NaN in it, or nests too deep."
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
SUPPRESSED = Reason(
    hashes.SUPPRESSED,
    422,
    "Suppressed contact",
    "The row is of a contact that was erased and stays out. Nothing of it is kept but its ids.",
)
NOT_STORED = Reason(
    "not_stored", 503, "Not stored", "Neither Kafka nor the spool took the event in time. It was not accepted."
)
OVERLOADED = Reason(
    "overloaded",
    503,
    "Overloaded",
    "There was no memory for the body in time: the request would have been answered too late. It was not accepted.",
)

REASONS = by_code(vars(refusals), globals())
