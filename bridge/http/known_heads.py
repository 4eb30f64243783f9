"""Heads of webhooks that were parsed and admitted before, compared byte by byte.

A sender's requests have the same head but for the body's length. The result of parsing depends on the bytes only, so a
repeated head is not parsed again. The token is checked each time: it may have been revoked.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from openbsp.http.fast_path import END, MOST_BYTES, may_repeat, remember

#: What else a head says of the event, `Webhook.is_plain` knows.
_TELLING = frozenset({b"content-encoding"})


class KnownHead:
    """The body length of a head, and who sent it; `scope` is that of its first request."""

    __slots__ = ("authorization", "length", "scope")

    def __init__(self, length: int, authorization: bytes | None, scope: Any) -> None:
        self.length = length
        self.authorization = authorization
        self.scope = scope


class KnownHeads:
    """Heads that were admitted, each by its bytes."""

    def __init__(self) -> None:
        """Start with none."""
        self._heads: dict[bytes, KnownHead] = {}
        #: Returns the KnownHead of these bytes, or None.
        self.get = self._heads.get

    def __len__(self) -> int:
        """Count them."""
        return len(self._heads)

    def learn(self, data: bytes, body_size: int, scope: Mapping[str, Any]) -> None:
        """Store the head of a plain webhook, if `data` is the whole request and its head may serve another one."""
        end = len(data) - body_size
        pairs: Iterable[tuple[bytes, bytes]] = scope["headers"]
        if end > MOST_BYTES or data.find(END) + len(END) != end or scope["http_version"] != "1.1":
            return
        headers = dict(pairs)
        if may_repeat(headers, _TELLING):
            remember(self._heads, data[:end], KnownHead(body_size, headers.get(b"authorization"), scope))
