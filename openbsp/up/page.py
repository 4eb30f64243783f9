"""The link that opens the live page signed in."""

from urllib.parse import quote


def page_link(views: str, token: str) -> str:
    """Return the link. The token is in its fragment, which a browser never sends."""
    return f"{views}/#token={quote(token, safe='')}"
