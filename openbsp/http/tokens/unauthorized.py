"""The answer for an unknown, revoked or missing token, the same in every service.

The views, which have a page for people, append to `DETAIL` where one signs in, and have a sentence of their own for a
wrong token in its form (`streams/views/http/session.py`).
"""

from openbsp.http.problems import Reason

REASON = Reason(
    "unauthorized",
    401,
    "Unauthorized",
    "The bearer token is missing or wrong.",
    headers=((b"www-authenticate", b'Bearer realm="openbsp"'),),
)

#: `detail` of the answer. It is the same whatever is wrong with the token: more would help to guess one.
DETAIL = "a valid token is required: `Authorization: Bearer <token>`"
