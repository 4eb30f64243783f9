"""What the views say of a row that is erased."""

from http import HTTPStatus
from urllib.parse import quote

import httpx

from bridge.erase.errors import EraseError
from bridge.erase.find import Row

_TIMEOUT_S = 5.0


class Views:
    """The views, asked with a token that sees all rows that are erased."""

    def __init__(self, url: str, token: str | None, *, transport: httpx.BaseTransport | None = None) -> None:
        """Connect to nothing yet."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._url = url
        self._client = httpx.Client(
            base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False, transport=transport
        )

    def has(self, row: Row) -> bool | None:
        """Return whether a row is shown; None while they do not answer for it. Raises EraseError."""
        path = f"/{row.entity}/{quote(row.id, safe='')}"
        try:
            status = self._client.get(path).status_code
        except httpx.TransportError:
            return None
        if status in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
            return status == HTTPStatus.OK
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return None
        raise EraseError(f"{self._url}{path} answers {status}: give a token of the views that may see these rows")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
