"""POST /webhooks over HTTP: at once if the request arrived whole, else as an ASGI application that reads its body."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from bridge.delivery.memory import Memory, cost
from bridge.http.body_ends import INSPECTED_BYTES
from bridge.http.known_heads import KnownHeads
from bridge.http.webhook import LENGTH_DIGITS, Respond, Scope, Shared, TooLargeError, TurnedDownError, Webhook
from openbsp.http.problems import Answer
from openbsp.http.refusals import BODY_TIMEOUT
from openbsp.http.tokens.token_set import Token
from openbsp.threads import settle

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: In a request's scope state: its client was too slow, and the rest of the body is not read.
TIMED_OUT = "timed_out"

#: Same: bytes of memory counted when the head arrived, so that other requests are held back in time.
RESERVED = "reserved"

#: What a refused client may still send before the connection is closed, so that it can read the answer.
_LINGER_BYTES = 8 * 1024 * 1024
#: How long to wait for the ends of a too large body: they say which row is missing.
_ENDS_S = 1.0
_LINGER_S = 3.0


class _ClientGoneError(Exception):
    """The connection ended before the body did: there is no client to answer."""


class Ingress:
    """Answers webhooks."""

    def __init__(self, shared: Shared) -> None:
        """Handle webhooks with what they share."""
        self._shared = shared
        self.authenticate = shared.authenticate
        self.known_heads = KnownHeads()

    def reserve(self, headers: Iterable[tuple[bytes, bytes]]) -> int:
        """Reserve memory for a request whose body is still to come."""
        lengths = [value for name, value in headers if name == b"content-length"]
        length = int(lengths[0].strip()[-LENGTH_DIGITS:]) if lengths else self._shared.max_body
        reserved = cost(min(length, self._shared.max_body))
        self._shared.memory.add(reserved)
        return reserved

    @property
    def memory(self) -> Memory:
        """The memory that all events in progress share."""
        return self._shared.memory

    @property
    def in_progress(self) -> int:
        """Webhooks that are not answered yet."""
        return self._shared.in_progress

    def answer(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        """Answer a request whose body is complete: call `respond` once, now or later. Return whether it is plain.

        No task, no messages: for small requests those cost more than publishing.
        """
        webhook = Webhook(self._shared, respond)
        try:
            webhook.admit(scope["method"], scope["headers"], _client(scope))
        except Exception as error:  # noqa: BLE001 it is answered, and logged
            _refuse(webhook, error, body)
            return False
        webhook.enter(len(body), functools.partial(_take, webhook, body))
        return webhook.is_plain

    def answer_known(self, token: Token, body: bytes, respond: Respond) -> None:
        """Answer a request whose head was admitted before, sent with this token, which is valid now."""
        webhook = Webhook(self._shared, respond)
        webhook.admit_known(token)
        webhook.enter(len(body), functools.partial(_take, webhook, body))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: an ASGI application."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        answered: asyncio.Future[Answer] = loop.create_future()
        # Trap: when its time-out ends, uvicorn cancels the task that waits, and the answer would be lost.
        webhook = Webhook(
            self._shared,
            lambda answer: None if answered.done() else answered.set_result(answer),
            scope.get("state", {}).pop(RESERVED, 0),
        )
        body, more = b"", True
        try:
            try:
                webhook.admit(scope["method"], scope["headers"], _client(scope))
                webhook.enter(None, functools.partial(settle, turn, None))
                await turn
                body, more = await self._body(scope, receive)
                webhook.take(body)
            except TooLargeError as error:
                beginning, end, more = await _ends(receive, body, more=more)
                webhook.refuse_large(error, beginning, end)
        except _ClientGoneError:
            webhook.drop()
            return
        except asyncio.CancelledError:
            webhook.drop()
            raise
        except Exception as error:  # noqa: BLE001 as above
            webhook.fail(error)
        del body  # or it would be in memory until the answer
        answer = await answered
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        if answer.close and more:
            await _send_and_linger(answer, receive, send)
        else:
            await send({"type": "http.response.body", "body": answer.body})

    async def _body(self, scope: Scope, receive: Receive) -> tuple[bytes, bool]:
        """Return the body, or the part that makes it too large, and whether more follows."""
        chunks = []
        size = 0
        while (message := await receive())["type"] == "http.request":
            if TIMED_OUT in scope.get("state", ()):
                raise TurnedDownError(BODY_TIMEOUT, "the body took too long to arrive", close=True)
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            more = message.get("more_body", False)
            if not more or size > self._shared.max_body:
                return b"".join(chunks), more
        raise _ClientGoneError


async def _ends(receive: Receive, body: bytes, *, more: bool) -> tuple[bytes, bytes, bool]:
    """Return both ends of a too large body, as far as they arrive in time, and whether more follows.

    The middle is discarded. Trap: clients based on curl announce larger bodies and wait for `100 Continue`; without it,
    nothing would be known of the event.
    """
    beginning, end, size = body[:INSPECTED_BYTES], body[-INSPECTED_BYTES:], len(body)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_ENDS_S):
            while more and size < _LINGER_BYTES:
                message = await receive()
                part = message.get("body", b"")
                beginning += part[: INSPECTED_BYTES - len(beginning)]
                end = (end + part)[-INSPECTED_BYTES:] if message["type"] == "http.request" else b""
                more = message.get("more_body", False)
                size += len(part)
    return beginning, b"" if more else end, more


def _take(webhook: Webhook, body: bytes, refusal: TurnedDownError | None) -> None:
    if refusal is not None:
        webhook.fail(refusal)
        return
    try:
        webhook.take(body)
    except Exception as error:  # noqa: BLE001 it is answered, and logged
        _refuse(webhook, error, body)


def _refuse(webhook: Webhook, error: Exception, body: bytes) -> None:
    try:
        if isinstance(error, TooLargeError):
            webhook.refuse_large(error, body[:INSPECTED_BYTES], body[-INSPECTED_BYTES:])
        else:
            webhook.fail(error)
    except Exception as fault:  # noqa: BLE001 as above
        webhook.fail(fault)


def _client(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


async def _send_and_linger(answer: Answer, receive: Receive, send: Send) -> None:
    """Send a body, then end the connection.

    Trap: closing it while the client still sends makes its system discard the answer, unread.
    """
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            more = True
            while more and size < _LINGER_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                more = message.get("more_body", False)
    await send({"type": "http.response.body"})
