"""Heads of webhooks that were parsed and admitted before, byte by byte.

A sender's requests have the same head but for the length of the body. What a parser says of it depends on nothing but
its bytes, so one that comes again needs none. The token is looked at each time: it may have been revoked meanwhile.
"""

from collections.abc import Iterable, Mapping
from typing import Any

#: What a head ends with.
END = b"\r\n\r\n"
#: A head that is longer is not kept.
MOST_BYTES = 2048
#: So many are kept; then the lot is forgotten. Only clients with a valid token are ever among them.
_MOST = 1024

#: With one of these a body is not as it came, the connection is another afterwards, or the event says more than its
#: body. Heads of traces are besides never the same.
_TELLING = frozenset(
    {
        b"content-encoding",
        b"expect",
        b"openbsp-organizations",
        b"openbsp-reconciled",
        b"openbsp-redriven",
        b"te",
        b"trailer",
        b"traceparent",
        b"transfer-encoding",
        b"upgrade",
    }
)
_KEEP_ALIVE = b"keep-alive"


class KnownHead:
    """How long the body is that belongs to a head, and who sent it; `scope` is that of its first request."""

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
        """Keep the head of an admitted webhook that `data` is the whole of, if another one may be taken by it."""
        end = len(data) - body_size
        pairs: Iterable[tuple[bytes, bytes]] = scope["headers"]
        if end > MOST_BYTES or data.find(END) + len(END) != end or scope["http_version"] != "1.1":
            return
        headers = dict(pairs)
        if not _TELLING.isdisjoint(headers) or headers.get(b"connection", _KEEP_ALIVE).lower() != _KEEP_ALIVE:
            return
        if len(self._heads) >= _MOST:
            self._heads.clear()
        self._heads[data[:end]] = KnownHead(body_size, headers.get(b"authorization"), scope)
