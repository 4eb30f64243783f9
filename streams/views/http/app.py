"""The HTTP side of a worker: authentication, parameters, and the worker that can answer."""

import time
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from urllib.parse import unquote, urlencode

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from avro.jsontext import encode
from openbsp.http.refusals import INTERNAL_ERROR, METHOD_NOT_ALLOWED, NOT_FOUND
from openbsp.http.tokens.access import Access
from streams.state import contribution as contributions
from streams.views.access import METRICS, SYNC, Authentication, Reader, not_found, reader_of
from streams.views.cluster.peers import Answered, Peers
from streams.views.cluster.waits import Waits
from streams.views.http.openapi import document
from streams.views.http.page.files import Page
from streams.views.http.queries import FILTERS, MESSAGE_FILTERS, PAGING, Parameters
from streams.views.http.reads import CONVERSATION, CONVERSATIONS, MESSAGE, headers
from streams.views.http.session import Sessions
from streams.views.live.events import Asked, EventStream, EventStreams
from streams.views.problems import ProblemError, not_ready, problem, relayed
from streams.views.read import applied, render
from streams.views.read.applied import Applied
from streams.views.read.index import Filter
from streams.views.read.lists import Conversations, Listing, Lists, Messages, Orphans, encode_part
from streams.views.read.pages import PageKey
from streams.views.read.partition import PartitionView, Rendered, tag_of
from streams.views.read.tables import Tables

_JSON = "application/json"
_RELAYED_HEADERS = ("etag", "cache-control", "content-type", "retry-after")

#: Answers a request, given the deadline for partitions to become ready.
Attempt = Callable[[Request, float], Awaitable[ASGIApp]]


class Answer:
    """An ASGI application that answers with a view (None: not modified). A Response would cost twice as much."""

    __slots__ = ("_body", "_tag")

    def __init__(self, body: bytes | None, tag: str) -> None:
        """Answer with JSON that has an entity tag."""
        self._body = body
        self._tag = tag

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        del scope, receive
        body = self._body
        status = 304 if body is None else 200
        await send({"type": "http.response.start", "status": status, "headers": headers(self._tag, body)})
        await send({"type": "http.response.body", "body": body or b""})


class Views:
    """The endpoints. Each raises ProblemError for answers that are problems."""

    def __init__(self, tables: Tables, peers: Peers, waiting: Applied, streams: EventStreams, waits: Waits) -> None:
        """Answer from these tables, and from those of other workers."""
        self._tables = tables
        self._peers = peers
        self._applied = waiting
        self._waits = waits
        self._streams = streams
        self._lists = Lists(tables, peers)

    def waiting(self, attempt: Attempt) -> Callable[[Request], Awaitable[ASGIApp]]:
        """Return an endpoint that waits while partitions are not ready, up to a limit."""

        async def endpoint(request: Request) -> ASGIApp:
            return await self._waits.answer(
                reader_of(request),
                lambda until: attempt(request, until),
                lambda until: self._pass_on(request, until),
            )

        return endpoint

    async def message(self, request: Request, until: float) -> Response | Answer:
        """GET /messages/{id}."""
        message_id = _id(request, "message")
        parameters = Parameters(request, ("after",))
        view = await self._view_of(request, parameters, message_id, until, of_conversation=False)
        if isinstance(view, Response):
            return view
        found = view.message(message_id)
        if found is None or not reader_of(request).may_see(found.organization):
            raise not_found("message", message_id)
        return _answer(request, found.body, found.tag)

    async def conversation(self, request: Request, until: float) -> Response | Answer:
        """GET /conversations/{id}."""
        conversation_id = _id(request, "conversation")
        parameters = Parameters(request, ("after",))
        view = await self._view_of(request, parameters, conversation_id, until, of_conversation=True)
        if isinstance(view, Response):
            return view
        if not view.prepared(conversation_id):
            await view.prepare(conversation_id)
            self._tables.confirm([view])
        found = _conversation(view, conversation_id, reader_of(request))
        return _answer(request, found.body, found.tag)

    async def messages(self, request: Request, until: float) -> Response | Answer:
        """GET /conversations/{id}/messages."""
        conversation_id = _id(request, "conversation")
        parameters = Parameters(request, PAGING)
        paging = parameters.paging()
        limit = paging.limit
        view = await self._view_of(request, parameters, conversation_id, until, of_conversation=True)
        if isinstance(view, Response):
            return view
        reader = reader_of(request)
        await view.prepare(conversation_id)
        self._tables.confirm([view])
        owner = _conversation(view, conversation_id, reader).organization
        found = await view.messages(conversation_id, paging.below, limit + 1)
        self._tables.confirm([view])
        more = paging.cursor_of(contributions.sort_key(*found[limit - 1])) if len(found) > limit else None
        items = []
        for message_id, contribution in found[:limit]:
            organization = contributions.organization_of(contribution)
            if contributions.is_of(contribution, owner) and (organization is None or reader.may_see(organization)):
                items.append(render.conversation_message(message_id, contribution))
        body = render.page("messages", items, more)
        return _answer(request, body, tag_of(body))

    async def conversations(self, request: Request, until: float) -> Response | Answer:
        """GET /conversations."""
        parameters = Parameters(request, (*FILTERS, *PAGING))
        reader = reader_of(request)
        wanted = parameters.filter(reader.organizations)
        paging = parameters.paging()
        asked_by_worker = reader.partitions is not None or reader.sync_s is not None
        may_be_kept = not ("after" in parameters or asked_by_worker)
        if may_be_kept:
            for view in list(self._tables.assignment.views.values()):
                await view.prepare_index()
        # Trap: whole after the last wait. Changes elsewhere would not end what is kept.
        if not may_be_kept or not self._tables.whole:
            return await self._list(request, parameters, Conversations(wanted), until)
        for view in self._tables.assignment.views.values():
            view.index_changed()
        asked = PageKey(_sent(request), reader.organizations)
        page = self._tables.cached_page(asked)
        if page is None:
            change = self._tables.pages.change
            page = await self._lists.page(Conversations(wanted), paging, reader, _target(request), {}, until)
            self._tables.pages.keep(asked, wanted.organizations, page, change)
        return _answer(request, page.body, page.tag)

    async def all_messages(self, request: Request, until: float) -> Response | Answer:
        """GET /messages."""
        parameters = Parameters(request, (*MESSAGE_FILTERS, *PAGING))
        wanted = parameters.message_filter(reader_of(request).organizations)
        return await self._list(request, parameters, Messages(wanted), until)

    async def orphans(self, request: Request, until: float) -> Response | Answer:
        """GET /orphans."""
        parameters = Parameters(request, ("organization_id", *PAGING))
        wanted = parameters.orphan_filter(reader_of(request).organizations)
        return await self._list(request, parameters, Orphans(wanted), until)

    async def _list(
        self, request: Request, parameters: Parameters, listing: Listing, until: float
    ) -> Response | Answer:
        reader, paging = reader_of(request), parameters.paging()
        deadline = self._deadline(reader)
        late = await self._wait_for(parameters, reader, deadline, until)
        if late or reader.sync_s is not None:
            mine = frozenset(self._tables.assignment.views) if reader.partitions is None else reader.partitions
            await self._applied.wait_for_contributions(mine, deadline)
        if reader.partitions is not None:
            return Response(encode_part(await self._lists.own(listing, reader.partitions, paging)))
        headers = {SYNC: _seconds_until(deadline)} if late else {}
        page = await self._lists.page(listing, paging, reader, _target(request), headers, until)
        return _answer(request, page.body, page.tag)

    async def conversation_events(self, request: Request) -> EventStream:
        """GET /conversations/{id}/events."""
        conversation_id = _id(request, "conversation")
        parameters = Parameters(request, ("last_event_id",))
        return await self._stream(request, parameters, Filter(), conversation_id)

    async def events(self, request: Request) -> EventStream:
        """GET /events."""
        parameters = Parameters(request, (*FILTERS, "last_event_id"))
        return await self._stream(request, parameters, parameters.filter(reader_of(request).organizations), None)

    async def applied(self, request: Request, _: float) -> Response:
        """GET /internal/applied: 204 when a record of a partition of this worker has been applied."""
        written = self._applied.parse(Parameters(request, ("after",)).text("after") or "")
        await self._applied.wait_here(written, self._deadline(reader_of(request)))
        return Response(None, 204)

    async def _stream(
        self, request: Request, parameters: Parameters, wanted: Filter, conversation_id: str | None
    ) -> EventStream:
        asked = Asked(
            reader_of(request),
            _target(request, "last_event_id"),
            wanted,
            conversation_id,
        )
        # EventSource sends the header only when it reconnects by itself; the parameter is for those that do it better.
        last_event_id = request.headers.get("last-event-id") or parameters.text("last_event_id")
        stream = EventStream(self._streams, asked, last_event_id)
        await stream.open()
        return stream

    async def _view_of(
        self, request: Request, parameters: Parameters, key: str, until: float, *, of_conversation: bool
    ) -> PartitionView | Response:
        """Return the partition of a key, or the answer of its owner."""
        reader = reader_of(request)
        if "after" not in parameters and reader.sync_s is None:
            if reader.partitions is None and self._tables.elsewhere(key):
                return await self._relay(request, key, {}, until)
            return self._tables.view_of(key) or await self._relay(request, key, {}, until)
        deadline = self._deadline(reader)
        late = await self._wait_for(parameters, reader, deadline, until) and of_conversation
        if self._tables.view_of(key) is None:
            return await self._relay(request, key, {SYNC: _seconds_until(deadline)} if late else {}, until)
        if late or reader.sync_s is not None:
            await self._applied.wait_for_contributions(frozenset({self._tables.partition_of(key)}), deadline)
        view = self._tables.view_of(key)
        if view is None:
            raise not_ready("the partition was handed over", {self._tables.partition_of(key)})
        return view

    async def _wait_for(self, parameters: Parameters, reader: Reader, deadline: float, until: float) -> bool:
        """Wait for the record that `after` names; return whether conversations are updated later still."""
        after = parameters.text("after")
        if after is None:
            return False
        written = self._applied.parse(after)
        await self._applied.wait(written, reader, deadline, until)
        return self._applied.changes_conversations_late(written)

    async def _relay(self, request: Request, key: str, headers: dict[bytes, bytes], until: float) -> Response:
        reader = reader_of(request)
        partition = self._tables.partition_of(key)
        if reader.partitions is not None:
            # The worker that takes this one for the owner has to find the owner again.
            raise not_ready("the partition is another worker's", {partition}, passing=False)
        headers |= _only_if_changed(reader)
        owner = self._tables.owner(partition)
        answer = await self._peers.ask(owner, _target(request), reader, {partition}, headers, until=until)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise not_ready("the partition's worker has other tokens than this one", {partition}, passing=False)
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise relayed(answer.content, {partition})
        return _passed(answer)

    async def _pass_on(self, request: Request, until: float) -> Response | None:
        """Return another worker's answer if this one is shutting down; None if it is not, or no worker answers.

        Raises ProblemError for a request of another worker: that one has to find the owner again.
        """
        if not self._tables.leaving:
            return None
        reader = reader_of(request)
        if reader.partitions is not None or reader.wait_s is not None:
            raise not_ready("the worker is stopping", reader.partitions or (), passing=False)
        target = _sent(request)
        for url in self._tables.others():
            try:
                answer = await self._peers.ask(url, target, reader, None, _only_if_changed(reader), until=until)
            except ProblemError:
                continue
            if answer.status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE}:
                return _passed(answer)
        return None

    def _deadline(self, reader: Reader) -> float:
        """Return the deadline for waiting: set by the worker that asks, otherwise by the settings."""
        allowed = self._applied.timeout_s
        return time.monotonic() + (allowed if reader.sync_s is None else min(allowed, reader.sync_s))


def create_app(
    access: Access,
    views: Views,
    tables: Tables,
    measured: Callable[[], CollectorRegistry],
    observed: Iterable[Route],
    *,
    remarks: Callable[[], list[str]],
) -> Starlette:
    """Build the app; it answers 503 until the tables are ready. `measured` returns current metrics.

    `observed` are the page's routes about the rest of the pipeline; `remarks` returns notes for operators that do not
    affect readiness.
    """

    async def healthz(_: Request) -> Response:
        return Response(b'{"status":"alive"}', media_type=_JSON)

    async def readyz(_: Request) -> Response:
        if tables.leaving:
            raise not_ready("the worker is stopping")
        unready = tables.unready
        if unready:
            raise not_ready("partitions are catching up or being indexed", unready)
        if tables.stalled:
            raise not_ready("no progress although there are records to process", tables.stalled)
        if found := remarks():
            return Response(encode({"status": "degraded", "remarks": found}), media_type=_JSON)
        return Response(b'{"status":"ready"}', media_type=_JSON)

    async def metrics(request: Request) -> Response:
        if "reader" in request.scope:
            reader_of(request).need_all()
        return Response(
            generate_latest(measured()), headers={"Cache-Control": "no-store"}, media_type=CONTENT_TYPE_LATEST
        )

    description = encode(document())

    async def openapi(_: Request) -> Response:
        return Response(description, media_type=_JSON)

    app = Starlette(
        routes=[
            Route(CONVERSATION, views.waiting(views.conversation)),
            Route(CONVERSATIONS, views.waiting(views.conversations)),
            Route(MESSAGE, views.waiting(views.message)),
            Route("/messages", views.waiting(views.all_messages)),
            Route("/orphans", views.waiting(views.orphans)),
            Route("/conversations/{conversation_id}/messages", views.waiting(views.messages)),
            Route("/conversations/{conversation_id}/events", views.conversation_events),
            Route("/events", views.events),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route(METRICS, metrics),
            Route("/openapi.json", openapi),
            Route(applied.PATH, views.waiting(views.applied)),
            *Sessions(access.authenticate).routes(),
            *observed,
            *Page().routes(),
        ],
        middleware=[Middleware(_EncodedPaths), Middleware(Authentication, access=access)],
        exception_handlers={ProblemError: _problem, HTTPException: _http_error, Exception: _internal_error},
    )
    app.router.redirect_slashes = False
    return app


class _EncodedPaths:
    """ASGI middleware: routes match the path as sent, so that ids may contain slashes (as %2F)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["path"] = scope["raw_path"].decode("ascii", "replace")
        await self._app(scope, receive, send)


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 as registered
    return problem(error)


async def _http_error(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == METHOD_NOT_ALLOWED.status:
        allow = ", ".join(sorted((error.headers or {}).get("Allow", "GET").split(", ")))
        return problem(ProblemError(METHOD_NOT_ALLOWED, f"the path supports {allow}"), allow=allow)
    return problem(ProblemError(NOT_FOUND, "nothing is served at this path"))


async def _internal_error(_: Request, __: Exception) -> Response:
    return problem(ProblemError(INTERNAL_ERROR, "see the log of the worker for the error"))


def _id(request: Request, kind: str) -> str:
    text: str = request.path_params[f"{kind}_id"]
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise not_found(kind, text) from None


def _conversation(view: PartitionView, conversation_id: str, reader: Reader) -> Rendered:
    found = view.conversation(conversation_id)
    if found is None or not reader.may_see(found.organization):
        raise not_found("conversation", conversation_id)
    return found


def _answer(request: Request, body: bytes, tag: str) -> Answer:
    wanted = reader_of(request).if_none_match
    if wanted is not None:
        known = {item.strip().removeprefix("W/") for item in wanted.split(",")}
        if wanted.strip() == "*" or f'"{tag}"' in known:
            return Answer(None, tag)
    return Answer(body, tag)


def _only_if_changed(reader: Reader) -> dict[bytes, bytes]:
    return {} if reader.if_none_match is None else {b"if-none-match": reader.if_none_match.encode("latin-1")}


def _passed(answer: Answered) -> Response:
    """Return another worker's answer as this one's."""
    status = answer.status
    headers = {name: answer.headers[name] for name in _RELAYED_HEADERS if name in answer.headers}
    return Response(None if status == HTTPStatus.NOT_MODIFIED else answer.content, status, headers)


def _sent(request: Request) -> bytes:
    """Return path and query as sent."""
    path: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    return path + b"?" + query if query else path


def _target(request: Request, *without: str) -> bytes:
    """Return path and query for other workers, without the record to wait for."""
    dropped = {"after", *without}
    query = urlencode([item for item in request.query_params.multi_items() if item[0] not in dropped])
    path: bytes = request.scope["raw_path"]
    return path + b"?" + query.encode() if query else path


def _seconds_until(deadline: float) -> bytes:
    return b"%.3f" % max(0.0, deadline - time.monotonic())
