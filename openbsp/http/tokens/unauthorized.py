"""The answer for an unknown, revoked or missing token, the same in every service, with all of its sentences.

Who reads its status, and who repeats its words: docs/howto/answer.md.
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
#: The same of a service that has a page for people.
DETAIL_WITH_PAGE = f"{DETAIL}, or sign in at /"
#: The same for a token that somebody gives to sign in, which the page shows.
DETAIL_OF_SIGN_IN = "the token is not valid"
