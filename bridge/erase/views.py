"""What the views show of an erased row."""

import re
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from urllib.parse import quote

import httpx

from bridge.erase.errors import EraseError
from bridge.erase.find import Row
from bridge.erase.places import Compaction
from openbsp.bearer import bearer

_TIMEOUT_S = 5.0
_INTERVAL = "streams_store_compaction_interval_seconds"
_COMPACTED = "streams_stores_compacted_timestamp_seconds"
_GAUGE = re.compile(rf"^({_INTERVAL}|{_COMPACTED}) (\S+)$", re.MULTILINE)


class Views:
    """The views, asked with a token that sees all erased rows."""

    def __init__(self, url: str, token: str | None, *, transport: httpx.BaseTransport | None = None) -> None:
        """Connect to nothing yet."""
        headers = {} if token is None else {"Authorization": bearer(token)}
        self._url = url
        self._client = httpx.Client(
            base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False, transport=transport
        )

    def has(self, row: Row) -> bool | None:
        """Return whether a row is shown; None while they cannot answer for it. Raises EraseError."""
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

    def compaction(self) -> Compaction | None:
        """Return the worker's data about its stores; None if not available, or not to this token."""
        try:
            answer = self._client.get("/metrics")
        except httpx.TransportError:
            return None
        if answer.status_code != HTTPStatus.OK:
            return None
        numbers = dict(_GAUGE.findall(answer.text))
        try:
            interval_s, at = float(numbers[_INTERVAL]), float(numbers[_COMPACTED])
        except (KeyError, ValueError):
            return None
        return Compaction(timedelta(seconds=interval_s), datetime.fromtimestamp(at, UTC))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
