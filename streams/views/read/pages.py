"""A cache of pages of conversations. A page is valid until a conversation of its organizations changes."""

from collections import OrderedDict
from typing import NamedTuple

#: Size of the cache, and the size of an entry without target and body.
_MOST_BYTES = 32 * 1024 * 1024
_EACH_BYTES = 500
#: Organizations whose last change is stored.
_MOST_ORGANIZATIONS = 10_000


class Page(NamedTuple):
    """A page as answered."""

    body: bytes
    tag: str


class PageKey(NamedTuple):
    """The key of a page: path and query as sent, and the organizations of the token."""

    target: bytes
    organizations: frozenset[str] | None


class _Kept(NamedTuple):
    page: Page
    #: Whose conversations are on the page (None: all), and the last change that it includes.
    organizations: frozenset[str] | None
    change: int


class Pages:
    """Pages of all partitions of a worker. Changes are numbered, and the last one of each organization is stored."""

    def __init__(self) -> None:
        """Start empty."""
        self._kept: OrderedDict[PageKey, _Kept] = OrderedDict()
        self._bytes = 0
        #: The number of the last change.
        self.change = 0
        #: The last one of each stored organization; `_of_others` is an upper bound for the rest.
        self._last: dict[str | None, int] = {}
        self._of_others = 0
        self._cleared = 0

    def changed(self, organization: str | None) -> None:
        """Invalidate the pages of an organization: one of its conversations has changed, or its place in lists."""
        self.change += 1
        if len(self._last) >= _MOST_ORGANIZATIONS:
            self._last.clear()
            self._of_others = self.change
        self._last[organization] = self.change

    def clear(self) -> None:
        """Drop all pages, also those being made: the assignment has changed."""
        self._kept.clear()
        self._bytes = 0
        self.change += 1
        self._cleared = self.change

    def get(self, asked: PageKey) -> Page | None:
        """Return the page, None if there is no valid one."""
        kept = self._kept.get(asked)
        if kept is None:
            return None
        if kept.change < self._changed_last(kept.organizations):
            self._drop(asked)
            return None
        self._kept.move_to_end(asked)
        return kept.page

    def keep(self, asked: PageKey, organizations: frozenset[str] | None, page: Page, change: int) -> None:
        """Store a page of these organizations' conversations; `change` was the last one before it was made."""
        if change < self._cleared:
            return
        self._drop(asked)
        self._kept[asked] = _Kept(page, organizations, change)
        self._bytes += _size(asked, page)
        while self._bytes > _MOST_BYTES:
            self._drop(next(iter(self._kept)))

    def _changed_last(self, organizations: frozenset[str] | None) -> int:
        if organizations is None:
            return self.change
        return max((self._last.get(each, self._of_others) for each in organizations), default=0)

    def _drop(self, asked: PageKey) -> None:
        kept = self._kept.pop(asked, None)
        if kept is not None:
            self._bytes -= _size(asked, kept.page)


def _size(asked: PageKey, page: Page) -> int:
    return len(asked.target) + len(page.body) + _EACH_BYTES
