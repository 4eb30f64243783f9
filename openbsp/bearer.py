"""Sending a token, and the reason why a request failed, without the token."""

import httpx


def bearer(token: str) -> str:
    """Return the value of the header `Authorization`, without the line feed of the token's file.

    Any other invalid character, and an empty token, are left for the server to refuse.
    """
    # Trap: no client sends a header with a space at its end.
    return f"Bearer {token.strip().encode('ascii', 'backslashreplace').decode()}".rstrip()


def hindrance(error: httpx.HTTPError | TimeoutError) -> str:
    """Return why there was no answer."""
    name = type(error).__name__
    # Trap: the error of an invalid header quotes it, and tokens are headers.
    if isinstance(error, httpx.LocalProtocolError):
        return f"{name}: a header cannot be sent; has the token a line feed in it?"
    return f"{name} {error}".rstrip()
