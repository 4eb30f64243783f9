"""The rows of an OpenBSP, read politely and with distrust.

A wrong answer must never look like a right one: another schema, a filter that is ignored, a cap on rows, a key that was
revoked (row-level security then shows no rows, which is no error).
"""

import re
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from avro import instants
from bridge.reconcile import names
from bridge.sender.errors import AnswerTooLargeError, PlatformBusyError, PlatformError, UnfitValueError
from bridge.sender.platform import Page, Platform, Row
from openbsp.backoff import Backoff

#: Bytes of an answer. A row has up to a few MiB, so a page of many may not fit.
_MOST_BYTES = 32 * 1024 * 1024
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
#: The header Date has whole seconds, and an answer takes its time.
_SAME_TIME_S = 15.0
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Cursor(NamedTuple):
    """A position in the order of (`updated_at`, id): the instant's text as the platform writes it, and the name."""

    at: str
    id: str


class Range(NamedTuple):
    """Rows by `updated_at`, both ends included, in microseconds since the epoch; of one organization, or of all."""

    since: int
    until: int
    organization: str | None


class Source:
    """Reads one OpenBSP, by the names of rows (bridge.reconcile.names). Raises PlatformError."""

    def __init__(
        self,
        platform: Platform,
        *,
        requests_per_s: float,
        patience_s: float,
        page_rows: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Set the limits; nothing is asked yet."""
        self._platform = platform
        self._interval_s = 1 / requests_per_s
        self._patience_s = patience_s
        self._page_rows = self._limit = page_rows
        self._sleep = sleep
        self._next_at = 0.0
        self.requests = 0

    def page(self, entity: str, wanted: Range, after: Cursor | None) -> list[Row]:
        """Return the next rows of a range, in order; an empty list if there are none.

        Fewer rows than requested mean nothing: the platform caps answers as it likes.
        """
        query = [
            ("updated_at", f"gte.{instants.render(wanted.since)}"),
            ("updated_at", f"lte.{instants.render(wanted.until)}"),
            ("order", ",".join(f"{column}.asc" for column in ("updated_at", *names.columns_of(entity)))),
        ]
        if wanted.organization is not None:
            query.append(("organization_id", f"eq.{wanted.organization}"))
        if after is not None:
            query.append(("or", _behind(entity, after)))
        while True:
            try:
                answer = self._ask(entity, [*query, ("limit", str(self._limit))])
                break
            except AnswerTooLargeError:
                if self._limit == 1:
                    raise
                self._limit = max(1, self._limit // 4)
        if answer.size * 4 < _MOST_BYTES:
            self._limit = min(self._page_rows, self._limit * 2)
        _check(entity, answer.rows, wanted, after)
        return answer.rows

    def ahead_us(self, entity: str) -> int:
        """Return by how many microseconds this machine's clock is ahead of the platform's; 0 if unknown.

        A few seconds count as 0.
        """
        at = self._ask(entity, [("select", ",".join(names.columns_of(entity))), ("limit", "1")]).at
        ahead_s = 0.0 if at is None else time.time() - at
        return round(ahead_s * 1_000_000) if ahead_s > _SAME_TIME_S else 0

    def by_name(self, entity: str, wanted: Sequence[str]) -> list[Row]:
        """Return the existing rows with these names, whole."""
        return self._named(entity, wanted, [])

    def present(self, entity: str, wanted: Sequence[str]) -> set[str]:
        """Return the existing ones of the names."""
        select = ("select", ",".join(names.columns_of(entity)))
        return {str(names.name_of(entity, row)) for row in self._named(entity, wanted, [select])}

    def newest(self, entity: str, organization: str, most: int) -> list[str]:
        """Return the names of an organization's rows that changed last."""
        columns = names.columns_of(entity)
        query = [
            ("select", ",".join(sorted({*columns, "organization_id"}))),
            ("organization_id", f"eq.{organization}"),
            ("order", ",".join(["updated_at.desc.nullslast", *(f"{column}.desc" for column in columns)])),
            ("limit", str(most)),
        ]
        try:
            found = [names.name_of(entity, row) for row in self._ask(entity, query).rows]
            return [name for name in found if name is not None]
        except UnfitValueError:
            # From another source: somebody tested the bridge with events of their own.
            return []

    def _named(self, entity: str, wanted: Sequence[str], query: list[tuple[str, str]]) -> list[Row]:
        """Read rows: one request for all that differ in the last of the identifying columns."""
        *columns, last = names.columns_of(entity)
        groups: dict[tuple[str, ...], list[str]] = {}
        for name in wanted:
            *same, member = names.parts_of(entity, name)
            groups.setdefault(tuple(same), []).append(member)
        found: list[Row] = []
        for same_ones, members in groups.items():
            filters = [(column, f"eq.{value}") for column, value in zip(columns, same_ones, strict=True)]
            found += self._in(entity, last, members, [*filters, *query])
        asked = set(wanted)
        return [row for row in found if names.name_of(entity, row) in asked]

    def _in(self, entity: str, column: str, ids: Sequence[str], query: list[tuple[str, str]]) -> list[Row]:
        members = ",".join(map(_quoted, ids))
        asked = [(column, f"in.({members})"), *query, ("order", f"{column}.asc")]
        try:
            answer = self._ask(entity, asked, exact_count=True)
        except AnswerTooLargeError:
            if len(ids) == 1:
                raise
            return self._halves(entity, column, ids, query)
        except UnfitValueError:
            # Trap: one id that is no UUID, from a made-up event, would fail the request for all others.
            fit = [id_ for id_ in ids if _UUID.fullmatch(id_)]
            if len(fit) == len(ids) or column != "id":
                raise
            return self._in(entity, column, fit, query) if fit else []
        found = [row.get(column) for row in answer.rows]
        # An id in capitals finds the row of the same UUID, which has another id here.
        known = set(ids).union(map(str.lower, ids))
        if not all(type(id_) is str and id_ in known for id_ in found):
            raise PlatformError(f"{entity}: rows with other ids than asked for: is this the API of an OpenBSP?")
        # Trap: an answer that was capped looks like rows that are gone.
        if answer.total is not None and answer.total > len(answer.rows) > 0 and len(ids) > 1:
            return self._halves(entity, column, ids, query)
        if answer.total != len(answer.rows):
            raise PlatformError(f"{entity}: {len(answer.rows)} rows in an answer that counts {answer.total}")
        return answer.rows

    def _halves(self, entity: str, column: str, ids: Sequence[str], query: list[tuple[str, str]]) -> list[Row]:
        half = len(ids) // 2
        return self._in(entity, column, ids[:half], query) + self._in(entity, column, ids[half:], query)

    def _ask(self, entity: str, query: list[tuple[str, str]], *, exact_count: bool = False) -> Page:
        backoff = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        deadline = time.monotonic() + self._patience_s
        while True:
            self._pace()
            try:
                return self._platform.page(entity, query, most_bytes=_MOST_BYTES, exact_count=exact_count)
            except PlatformBusyError as error:
                wait_s = max(backoff.next_s(), error.after_s or 0.0)
                if time.monotonic() + wait_s > deadline:
                    raise
                self._sleep(wait_s)

    def _pace(self) -> None:
        self.requests += 1
        now = time.monotonic()
        if now < self._next_at:
            self._sleep(self._next_at - now)
        self._next_at = max(now, self._next_at) + self._interval_s


def cursor_of(entity: str, row: Row) -> Cursor:
    """Return the position of a checked row."""
    return Cursor(row["updated_at"], str(names.name_of(entity, row)))


def _behind(entity: str, after: Cursor) -> str:
    """Return the filter for rows after a position: later, or as late and after it in the identifying columns."""
    same = f"updated_at.eq.{_quoted(after.at)}"
    terms = [f"updated_at.gt.{_quoted(after.at)}"]
    for column, part in zip(names.columns_of(entity), names.parts_of(entity, after.id), strict=True):
        terms.append(f"and({same},{column}.gt.{_quoted(part)})")
        same += f",{column}.eq.{_quoted(part)}"
    return f"({','.join(terms)})"


def _check(entity: str, rows: list[Row], wanted: Range, after: Cursor | None) -> None:
    """Raise PlatformError unless the rows match the request, in order."""
    place = None if after is None else (_instant(after.at), after.id)
    last = place[0] if place is not None else wanted.since
    for row in rows:
        at = _instant(row.get("updated_at"))
        name, organization = names.name_of(entity, row), row.get("organization_id")
        if name is None or at is None or type(organization) is not str:
            raise PlatformError(f"{entity}: rows without id, organization_id or updated_at: is this an OpenBSP?")
        if wanted.organization not in {None, organization}:
            raise PlatformError(f"{entity}: rows of another organization than asked for: is this an OpenBSP?")
        # Trap: the order of ids is the database's, so only equality can be checked here.
        if not wanted.since <= at <= wanted.until or (last is not None and at < last) or (at, name) == place:
            raise PlatformError(f"{entity}: the API does not filter or order by updated_at: is this an OpenBSP?")
        last = at


def _instant(text: object) -> int | None:
    return instants.parse(text) if type(text) is str else None


def _quoted(text: str) -> str:
    """Return a value as PostgREST reads it within parentheses, whatever it contains."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
