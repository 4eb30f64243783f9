"""A token that is sent, and what hinders a request, without the token."""

import httpx


def bearer(token: str) -> str:
    """Return the value of the header `Authorization`. The line feed of the file that a token comes from is none of it.

    Whatever else no token has is for the other side to refuse.
    """
    return "Bearer " + token.strip().encode("ascii", "backslashreplace").decode()


def hindrance(error: httpx.HTTPError | TimeoutError) -> str:
    """Return why there was no answer."""
    name = type(error).__name__
    # Trap: a header that cannot be sent stands in its words, and tokens are headers.
    if isinstance(error, httpx.LocalProtocolError):
        return f"{name}: a header cannot be sent; has the token a line feed in it?"
    return f"{name} {error}".rstrip()
