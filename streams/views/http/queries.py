"""Query parameters: each known, given once, and with a valid value."""

import hashlib
from collections.abc import Collection
from urllib.parse import unquote

from msgspec import msgpack
from starlette.requests import Request

from avro import instants
from streams.views.problems import ProblemError
from streams.views.read.index import Filter, Position
from streams.views.read.message_index import STATUSES, MessageFilter
from streams.views.read.paging import Paging, position_after
from streams.views.refusals import INVALID_PARAMETER

DEFAULT_LIMIT = 50
MOST = 500

_FLAGS = ("awaiting_reply", "unread", "unanswered", "failed", "archived")
FILTERS = ("organization_id", "status", "service", *_FLAGS, "contact_address", "updated_since")
MESSAGE_FILTERS = ("organization_id", "status", "since")
#: Parameters that do not change which rows are selected.
PAGING = ("after", "cursor", "limit")

_DIGEST_BYTES = 6


class Parameters:
    """The parameters of a request. All methods raise ProblemError for invalid values."""

    def __init__(self, request: Request, known: Collection[str]) -> None:
        """Take the parameters; all of them must be known."""
        self._values: dict[str, str] = {}
        self._path = unquote(request.scope["path"])
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

    def one_of(self, name: str, known: Collection[str]) -> str | None:
        """Return a parameter that is one of some values."""
        value = self._values.get(name)
        if value is not None and value not in known:
            raise _invalid(f"{name} is one of: {', '.join(known)}")
        return value

    def paging(self) -> Paging:
        """Return the requested page."""
        filters = sorted(item for item in self._values.items() if item[0] not in PAGING)
        query = hashlib.blake2s(msgpack.encode((self._path, filters)), digest_size=_DIGEST_BYTES).digest()
        return Paging(self._below(query), self._limit(), query)

    def _limit(self) -> int:
        value = self._values.get("limit", str(DEFAULT_LIMIT))
        if not (value.isascii() and value.isdigit() and len(value) <= len(str(MOST)) and 1 <= int(value) <= MOST):
            raise _invalid(f"limit is a whole number from 1 to {MOST}")
        return int(value)

    def _below(self, query: bytes) -> Position | None:
        value = self._values.get("cursor")
        if value is None:
            return None
        try:
            return position_after(value, query)
        except ValueError as error:
            raise _invalid(str(error)) from None

    def filter(self, organizations: frozenset[str] | None) -> Filter:
        """Return the filter of conversations, within the visible organizations."""
        return Filter(
            self._organizations(organizations),
            self.text("status"),
            self.text("service"),
            awaiting_reply=self.flag("awaiting_reply"),
            unread=self.flag("unread"),
            unanswered=self.flag("unanswered"),
            failed=self.flag("failed"),
            archived=self.flag("archived"),
            contact_address=self.text("contact_address"),
            active_since=self.instant("updated_since"),
        )

    def orphan_filter(self, organizations: frozenset[str] | None) -> Filter:
        """Return the filter of orphan conversations, within the visible organizations."""
        return Filter(self._organizations(organizations), known=False)

    def message_filter(self, organizations: frozenset[str] | None) -> MessageFilter:
        """Return the filter of messages, within the visible organizations."""
        return MessageFilter(self._organizations(organizations), self.one_of("status", STATUSES), self.instant("since"))

    def _organizations(self, seen: frozenset[str] | None) -> frozenset[str] | None:
        wanted = self.text("organization_id")
        if wanted is None:
            return seen
        return frozenset({wanted} if seen is None else seen & {wanted})


def _invalid(detail: str) -> ProblemError:
    return ProblemError(INVALID_PARAMETER, detail)
