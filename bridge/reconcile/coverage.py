"""How far the rows of an entity have been compared, from the oldest on.

Trap: rows that row-level security hides look like missing rows. So a run over all organizations has compared only those
that the platform showed. For each other one a gap is stored, and its rows are read from there as soon as it is shown.
"""

from collections.abc import Iterable, Mapping

from bridge.reconcile.index import Index, Progress

#: Progress of a run over all organizations.
_ALL = ""


class Coverage:
    """Of one entity, in one run. Times are in microseconds since the epoch."""

    def __init__(
        self, index: Index, entity: str, *, now: int, overlap: int, kept: bool = True, former: bool = True
    ) -> None:
        """Start from the progress of former runs, if `former`. `kept` is whether this one's is stored."""
        self._index = index
        self._entity = entity
        self._now = now
        self._overlap = overlap
        self._kept = kept
        self._former = former
        self._gaps = index.coverage(entity) if former else {}
        self._since: dict[str, int] = {}

    def begin(self, organization: str | None, given: int | None, until: int) -> int:
        """Return from when rows of an organization (None: of all) are to be read up to `until`.

        That is `given`, or else the end of the last run minus the overlap.
        """
        known = self._known(organization)
        since = 0 if known is None else max(0, min(known.until, until) - self._overlap)
        if given is not None:
            since = given
        self._since[organization or _ALL] = since
        return since

    def advance(self, organization: str | None, until: int) -> bool:
        """Record that all up to `until` was read; return whether that is so: rows before the start may be unread."""
        known, since = self._known(organization), self._since[organization or _ALL]
        if since > until or (since > 0 and (known is None or since > known.until)):
            return False
        if self._kept:
            until = until if known is None else max(known.until, until)
            self._index.advance(self._entity, organization or _ALL, Progress(0, until))
        return True

    def show(self, organizations: Iterable[str]) -> None:
        """Record that the platform shows rows of organizations: a new one may have older rows."""
        for name in organizations:
            if name not in self._gaps:
                self.fill(name, None if self._since[_ALL] == 0 else 0)

    def hide(self, organizations: Iterable[str]) -> None:
        """Record that the platform shows no rows of organizations, so this run cannot have read all of theirs."""
        since = self._since[_ALL]
        for name in organizations:
            gap = self._gaps.get(name, 0)
            self.fill(name, since if gap is None else min(gap, since))

    def gaps(self) -> Mapping[str, int]:
        """Return from when on former runs did not read all rows, of organizations with such gaps."""
        return {name: gap for name, gap in self._gaps.items() if gap is not None}

    def fill(self, organization: str, at: int | None) -> None:
        """Record that a gap begins at `at` now, or that there is none."""
        self._gaps[organization] = at
        if self._kept:
            self._index.cover(self._entity, organization, at)

    def _known(self, organization: str | None) -> Progress | None:
        known = self._index.progress(self._entity, organization or _ALL) if self._former else None
        # A run since a time may have been the first one; the clock may have been wrong.
        return None if known is None or known.since > 0 or known.until > self._now else known
