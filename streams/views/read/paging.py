"""Pages of a list, and the cursors that lead from one to the next."""

import base64
import binascii
from typing import Annotated, NamedTuple

from msgspec import DecodeError, Meta, ValidationError, msgpack

from streams.views.read.index import Position

_Micros = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_decode = msgpack.Decoder(tuple[_Micros, str, bytes]).decode


class Paging(NamedTuple):
    """A page: up to `limit` items below a position. `query` identifies the selection."""

    below: Position | None
    limit: int
    query: bytes

    def cursor_of(self, position: Position) -> str:
        """Return the cursor for the items below a position, valid for the same query only."""
        return base64.urlsafe_b64encode(msgpack.encode((*position, self.query))).decode().rstrip("=")


def position_after(cursor: str, query: bytes) -> Position:
    """Return the position that a cursor of this query stands for. Raises ValueError."""
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        time, key, its_query = _decode(packed)
    except (binascii.Error, DecodeError, ValidationError, ValueError):
        raise ValueError("cursor is a next_cursor that an answer had") from None
    if its_query != query:
        raise ValueError("the cursor is of another query: path and filters must be those of the page before")
    return time, key
