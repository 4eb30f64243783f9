"""GETs that cost little are answered without a scope, a task or a route.

These are messages, conversations, unless a long one has to be counted, and pages from the cache. All others go through
the routes (`app`), which give the same answers and fill the caches.
"""

import re
import time

from openbsp.http.problems import Answer, Headers
from openbsp.http.tokens.access import Access
from openbsp.http.tokens.token_set import Token
from streams.metrics import Metrics
from streams.views.read.pages import Page, PageKey
from streams.views.read.partition import Rendered
from streams.views.read.tables import Tables

#: Paths as in the documentation and the metrics.
CONVERSATION, CONVERSATIONS, MESSAGE = "/conversations/{conversation_id}", "/conversations", "/messages/{message_id}"

#: Only characters that need no decoding.
_BY_KEY = re.compile(rb"/(conversations|messages)/([A-Za-z0-9._~-]+)").fullmatch


class Reads:
    """Answers what costs little."""

    def __init__(self, access: Access, tables: Tables, metrics: Metrics) -> None:
        """Answer from these tables."""
        self.access = access
        #: The bytes after the path of heads that were parsed before, with their Authorization.
        self.known_heads: dict[bytes, bytes] = {}
        self._tables = tables
        self._metrics = metrics

    def answer(self, target: bytes, authorization: bytes) -> Answer | None:
        """Return the answer to an unconditional GET, None if it has to go through the routes."""
        began = time.perf_counter()
        token = self.access.authenticate(authorization)
        if token is None:
            return None
        match = _BY_KEY(target)
        found: Page | Rendered | None
        try:
            if match is None:
                endpoint, found = CONVERSATIONS, self._tables.cached_page(PageKey(target, token.organizations))
            elif match[1] == b"messages":
                endpoint, found = MESSAGE, _seen_by(token, self._message(match[2].decode()))
            else:
                endpoint, found = CONVERSATION, _seen_by(token, self._conversation(match[2].decode()))
        except Exception:  # noqa: BLE001 the route meets it again: it waits until partitions are ready, or tells of it
            return None
        if found is None:
            return None
        answer = Answer(200, headers(found.tag, found.body), found.body)
        self._metrics.requests.add(endpoint, "200")
        self._metrics.request_seconds.observe(time.perf_counter() - began, endpoint)
        return answer

    def _conversation(self, conversation_id: str) -> Rendered | None:
        found = self._tables.kept(conversation_id)
        if found is None and (view := self._tables.view_of(conversation_id)) is not None:
            found = view.at_once(conversation_id)
        return found

    def _message(self, message_id: str) -> Rendered | None:
        view = self._tables.view_of(message_id)
        return None if view is None else view.message(message_id)


def _seen_by(token: Token, found: Rendered | None) -> Rendered | None:
    return found if found is not None and token.may_see(found.organization) else None


def headers(tag: str, body: bytes | None) -> Headers:
    """Return the headers of a view with an entity tag; `body` None: not modified."""
    found = [(b"etag", b'"%b"' % tag.encode()), (b"cache-control", b"private, no-cache")]
    if body is not None:
        found += [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
    return found
