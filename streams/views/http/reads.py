"""GETs that cost little are answered without a scope, a task or a route.

These are conversations, unless a long one has to be counted, and pages from the cache. All others go through the routes
(`app`), which give the same answers and fill the caches.
"""

import re
import time

from openbsp.http.problems import Answer, Headers
from openbsp.http.tokens.access import Access
from openbsp.http.tokens.token_set import Token
from streams.metrics import Metrics
from streams.views.problems import ProblemError
from streams.views.read.pages import Page, PageKey
from streams.views.read.partition import Rendered
from streams.views.read.tables import Tables

#: Paths as in the documentation and the metrics.
CONVERSATION, CONVERSATIONS = "/conversations/{conversation_id}", "/conversations"

#: Only characters that need no decoding.
_BY_KEY = re.compile(rb"/conversations/([A-Za-z0-9._~-]+)").fullmatch


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
                found = self._tables.cached_page(PageKey(target, token.organizations))
            else:
                found = self._conversation(match[1].decode(), token)
        except ProblemError:
            return None  # the route waits until partitions are ready
        if found is None:
            return None
        answer = Answer(200, headers(found.tag, found.body), found.body)
        endpoint = CONVERSATIONS if match is None else CONVERSATION
        self._metrics.requests.add(endpoint, "200")
        self._metrics.request_seconds.observe(time.perf_counter() - began, endpoint)
        return answer

    def _conversation(self, conversation_id: str, token: Token) -> Rendered | None:
        view = self._tables.view_of(conversation_id)
        found = None if view is None else view.at_once(conversation_id)
        if found is None or (token.organizations is not None and found.organization not in token.organizations):
            return None
        return found


def headers(tag: str, body: bytes | None) -> Headers:
    """Return the headers of a view with an entity tag; `body` None: not modified."""
    found = [(b"etag", b'"%b"' % tag.encode()), (b"cache-control", b"private, no-cache")]
    if body is not None:
        found += [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
    return found
