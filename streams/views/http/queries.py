"""Query parameters: each known, given once, and of a value that means something."""

import base64
import binascii
from collections.abc import Collection
from typing import TypeVar

from msgspec import DecodeError, ValidationError, msgpack
from starlette.requests import Request

from avro import instants
from streams.views.http.problems import ProblemError
from streams.views.http.reasons import INVALID_PARAMETER
from streams.views.read.index import Filter, Position

DEFAULT_LIMIT = 50
MOST = 500

FILTERS = ("organization_id", "status", "service", "awaiting_reply", "updated_since")

Value = TypeVar("Value")


class Parameters:
    """The parameters of a request. All methods raise ProblemError for unusable values."""

    def __init__(self, request: Request, known: Collection[str]) -> None:
        """Take the parameters; all of them must be known."""
        self._values: dict[str, str] = {}
        if not request.scope["query_string"]:
            return
        for name, value in request.query_params.multi_items():
            if name not in known:
                raise _invalid(f"{name!r} is unknown; known are: {', '.join(sorted(known)) or 'none'}")
            if name in self._values:
                raise _invalid(f"{name} is given twice")
            self._values[name] = value

    def __contains__(self, name: str) -> bool:
        """Return whether a parameter is given."""
        return name in self._values

    def text(self, name: str) -> str | None:
        """Return a parameter as it is."""
        return self._values.get(name)

    def flag(self, name: str) -> bool | None:
        """Return a parameter that is true or false."""
        value = self._values.get(name)
        if value not in {None, "true", "false"}:
            raise _invalid(f"{name} is true or false")
        return None if value is None else value == "true"

    def instant(self, name: str) -> int | None:
        """Return a parameter that is an instant, in microseconds since the epoch."""
        value = self._values.get(name)
        if value is None:
            return None
        micros = instants.parse(value)
        if micros is None:
            raise _invalid(f"{name} is an instant with an offset, such as 2026-05-06T03:39:23Z; a + is sent as %2B")
        return micros

    def limit(self) -> int:
        """Return how many items are wanted at the most."""
        value = self._values.get("limit", str(DEFAULT_LIMIT))
        if not (value.isascii() and value.isdigit() and len(value) <= len(str(MOST)) and 1 <= int(value) <= MOST):
            raise _invalid(f"limit is a whole number from 1 to {MOST}")
        return int(value)

    def cursor(self) -> Position | None:
        """Return the position below which the page begins."""
        value = self._values.get("cursor")
        if value is None:
            return None
        try:
            packed = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
            return msgpack.decode(packed, type=tuple[int, str])
        except (binascii.Error, DecodeError, ValidationError, ValueError):
            raise _invalid("cursor is a next_cursor that an answer had") from None

    def filter(self, organizations: frozenset[str] | None) -> Filter:
        """Return which conversations are wanted, of those that may be seen."""
        wanted = self.text("organization_id")
        if wanted is not None:
            organizations = frozenset({wanted} if organizations is None else organizations & {wanted})
        return Filter(
            organizations,
            self.text("status"),
            self.text("service"),
            self.flag("awaiting_reply"),
            self.instant("updated_since"),
        )


def cursor_of(position: Position) -> str:
    """Return the text that stands for a position."""
    return base64.urlsafe_b64encode(msgpack.encode(position)).decode().rstrip("=")


def _invalid(detail: str) -> ProblemError:
    return ProblemError(INVALID_PARAMETER, detail)
